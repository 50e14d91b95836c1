-- The standard streams of worker processes: lines come out whole, nothing is
-- said twice, and the script's input is the script's.

require "tidemill" -- brings the modules that the child needs
local child = require "spec.support.child"
local pools = require "spec.support.pools"

local LINES <const> = 200

local function run(text, options)
  local outcome = child.run('local tm = require "tidemill"\n' .. text, options)
  assert.equal(0, outcome.status, outcome.err)
  return outcome
end

-- Each of the lines that `expected` counts is there so often, and no other.
local function check_lines(text, expected)
  local counts = {}
  for line in text:gmatch "([^\n]*)\n" do
    counts[line] = (counts[line] or 0) + 1
  end
  assert.same(expected, counts)
end

describe("lines that worker processes print", function()
  it("come out whole", function()
    local expected = {}
    for i = 1, LINES do expected[i .. ("-"):rep(300) .. i] = 1 end
    for _, stream in ipairs { "stdout", "stderr" } do
      local outcome = run(([[
        local pool <close> = tm.Pool { kind = "process", workers = 4 }
        local write = function(text) io.%s:write(text) end
        pool:map(function(i)
          write(("%%d%%s%%d\n"):format(i, ("-"):rep(300), i))
        end, tm.range(%d), 1)
      ]]):format(stream, LINES))
      check_lines(stream == "stdout" and outcome.out or outcome.err, expected)
    end
  end)

  it("come out whole when print writes them in parts", function()
    local expected = {}
    for i = 1, LINES do expected[("%d\tof\t%d"):format(i, LINES)] = 1 end
    local outcome = run(([[
      local pool <close> = tm.Pool { kind = "process", workers = 4 }
      pool:map(function(i) print(i, "of", %d) end, tm.range(%d), 1)
    ]]):format(LINES, LINES))
    check_lines(outcome.out, expected)
  end)

  it("are there when the map is done, before what the script prints",
    function()
      local outcome = run [[
        local pool = tm.process_pool()
        print "before"
        pool:apply(print, { "within" })
        print "after"
      ]]
      assert.equal("before\nwithin\nafter\n", outcome.out)
    end)

  it("come out although the worker dies then", function()
    local outcome = run [[
      local pool = tm.Pool { kind = "process", workers = 1 }
      pcall(pool.apply, pool, function()
        print "the last words"
        os.execute "kill -9 $PPID"
      end)
    ]]
    assert.equal("the last words\n", outcome.out)
  end)

  it("and the log go to a file whole", function()
    local expected = {}
    for i = 1, LINES do expected["line " .. i] = 1 end
    local outcome = run(([[
      tm.start_log_file "log"
      local pool <close> = tm.Pool { kind = "process", workers = 4 }
      pool:map(function(i) tm.log("line " .. i) end, tm.range(%d), 1)
      io.write(io.open "log":read "a")
    ]]):format(LINES))
    check_lines(outcome.out, expected)
  end)
end)

describe("the log of running workers", function()
  for _, method in ipairs { "fork", "spawn" } do
    local test = method == "fork" and pools.start_method == "spawn" and pending
      or it
    test("follows the script's, when they were " .. method .. "ed", function()
      local outcome = run(([[
        local pool <close> = tm.Pool { kind = "process", workers = 1,
                                       start_method = %q }
        local function say(text) pool:apply(tm.log, { text }) end
        local function content(name)
          return (io.open(name):read "a":gsub("\n", "|"))
        end
        pool:apply(math.sqrt, { 4 })
        tm.start_log_file "first"
        say "one"
        pool:apply(function() tm.start_log_file "second" end)
        tm.log "two"
        tm.set_level "error"
        say "dropped"
        pool:apply(function() tm.set_level "info" end)
        tm.log "three"
        tm.start_log_file(nil)
        say "four"
        print(content "first", content "second")
      ]]):format(method))
      assert.equal("one|\ttwo|three|\n", outcome.out)
      assert.equal("four\n", outcome.err)
    end)
  end
end)

describe("what the script has not written yet", function()
  it("is not written again by its workers", function()
    local outcome = run [[
      io.stdout:setvbuf "full"
      io.write "once "
      local file = io.open("file", "w")
      file:write "once"
      local pool <close> = tm.Pool { kind = "process", workers = 3 }
      pool:map(math.sqrt, tm.range(10))
      file:close()
      io.write(io.open "file":read "a", "\n")
    ]]
    assert.equal("once once\n", outcome.out)
  end)
end)

describe("the script's input", function()
  it("is not shared, nor what was read ahead of it", function()
    local outcome = child.run(("os.execute [[%s inner.lua <input]]"):format(
      child.command), { files = { input = "first\nsecond\n", ["inner.lua"] = [[
        local tm = require "tidemill"
        print(io.read "l")
        local pool = tm.Pool { kind = "process", workers = 2 }
        local read = pool:map(function() return io.read "l" or "nothing" end,
          { 1, 2 }, 1)
        print(read[1], read[2], io.read "l")
      ]] } })
    assert.equal("", outcome.err)
    assert.equal("first\nnothing\tnothing\tsecond\n", outcome.out)
  end)
end)
