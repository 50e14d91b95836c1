-- The examples, small: they check their own numbers and end with
-- a status other than 0 when one is wrong.

require "tidemill" -- brings the modules that the child needs
local child = require "spec.support.child"

local function current_directory()
  local pipe = assert(io.popen("pwd"))
  local path = pipe:read("l")
  pipe:close()
  return path
end

local EXAMPLES = current_directory() .. "/examples/"

-- Runs an example as the command would, in an empty directory; then the text
-- of `after`.
local function run(name, arguments, options, after)
  return child.run(("arg = { [0] = %q, %s }\ndofile(arg[0])\n%s"):format(
    EXAMPLES .. name, arguments, after or ""), options)
end

describe("the heat example", function()
  it("agrees with the exact decay and draws the field", function()
    local outcome = run("heat.lua", "'128', '60', '.'", nil,
      "io.write(io.open('heat.svg'):read('a'))")
    assert.equal("", outcome.err)
    assert.equal(0, outcome.status)
    assert.matches("thread pool .* the same to the last bit\n", outcome.out)
    assert.matches("amplitude 0%.9%d+, exact 0%.9%d+\n", outcome.out)
    assert.matches("<svg .*</svg>\n$", outcome.out)
    local _, cells = outcome.out:gsub("<rect [^>]*fill=\"#%x+\"", "")
    assert.is_true(cells > 64 * 64)
  end)

  it("draws in the working directory where there is no build folder", function()
    local outcome = run("heat.lua", "'128', '60'", nil,
      "assert(io.open('heat.svg'):read('a'):find '<svg')")
    assert.equal("", outcome.err)
    assert.equal(0, outcome.status)
    assert.matches("\nwrote heat%.svg\n$", outcome.out)
  end)

  it("refuses what it cannot resolve", function()
    local outcome = run("heat.lua", "'95'")
    assert.equal(1, outcome.status)
    assert.equal("heat: grid must be an integer of at least 96 (got '95')\n",
      outcome.err)
    outcome = run("heat.lua", "'96', '100000', '.'")
    assert.equal(1, outcome.status)
    assert.matches("^heat: too many steps for this grid: at most %d+\n$",
      outcome.err)
  end)
end)

describe("the crash example", function()
  it("gets every result but those of the items that crash", function()
    local outcome = run("crash.lua", "'100'", { env = child.crashes })
    assert.equal("", outcome.err)
    assert.equal(0, outcome.status)
    assert.matches("\n100 items, 96 results, 4 lost, in %d+%.%d+ s\n",
      outcome.out)
    for item, signal in pairs { [17] = "SEGV", [42] = "ABRT", [58] = "FPE",
                                [99] = "KILL" } do
      assert.matches(("item  %d  worker_died: [^\n]* SIG%s\n"):format(item,
        signal), outcome.out)
    end
    assert.matches("pool: 100 items, 100 results\n$", outcome.out)
  end)

  it("refuses a number that its items do not fit in", function()
    local outcome = run("crash.lua", "'99'")
    assert.equal(1, outcome.status)
    assert.equal("crash: items must be an integer of at least 100\n",
      outcome.err)
  end)
end)

describe("the LAPACK example", function()
  it("agrees with the known levels and the traces", function()
    local outcome = run("lapack.lua", "'200'")
    assert.equal("", outcome.err)
    assert.equal(0, outcome.status)
    if outcome.out:find("^LAPACK is not installed") then
      pending("LAPACK is not installed")
      return
    end
    assert.matches("thread pool .* the same to the last bit\n", outcome.out)
    assert.matches("sum of the levels within [%d.e-]+ of the trace",
      outcome.out)
  end)

  it("says so when LAPACK is not installed", function()
    -- What is found first is no library.
    local outcome = run("lapack.lua", "'200'", {
      env = { "LD_LIBRARY_PATH=." },
      files = { ["liblapack.so.3"] = "none", ["liblapack.so"] = "none" },
    })
    assert.equal("", outcome.err)
    assert.equal(0, outcome.status)
    assert.matches("^LAPACK is not installed, nothing to do: [^\n]+\n$",
      outcome.out)
  end)
end)
