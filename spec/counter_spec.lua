-- tm.Counter: one count across workers, one message at each multiple.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

-- What is logged while f runs, line by line, in a table.
local function logged(f)
  local path = os.tmpname()
  tm.start_log_file(path)
  local ok, e = pcall(f)
  tm.start_log_file(nil)
  local lines = {}
  for line in io.lines(path) do lines[#lines + 1] = line end
  os.remove(path)
  if not ok then error(e, 0) end
  return lines
end

-- Whether a line ends with the text.
local function ends(line, text) return line:sub(-#text) == text end

describe("a counter", function()
  it("counts by one, by more, down and by nothing", function()
    local counter = tm.Counter(1000)
    assert.equal(0, counter:value())
    counter:increment()
    counter:increment(5)
    assert.equal(6, counter:value())
    counter:increment(-2)
    counter:increment(0)
    assert.equal(4, counter:value())
  end)

  it("counts once for all workers of all pools", function()
    for _, kind in ipairs(pools.kinds) do
      local pool <close> = pools.new(kind)
      local counter = tm.Counter(1 << 40)
      pool:map(function() counter:increment() end, tm.range(1000), 1)
      assert.equal(1000, counter:value())
      assert.equal(1000, pool:apply(function() return counter:value() end))
      assert.equal(1003, pool:apply(function(c)
        c:increment(3)
        return c:value()
      end, { counter }))
    end
  end)

  it("logs at each multiple of 10, as 'Count: {}', unless told", function()
    local lines = logged(function()
      local counter = tm.Counter()
      for _ = 1, 25 do counter:increment() end
    end)
    assert.equal(2, #lines)
    assert.is_true(ends(lines[1], "Count: 10"))
    assert.is_true(ends(lines[2], "Count: 20"))
  end)

  it("takes its message as {} or as a format, and both as a table",
    function()
      for _, case in ipairs {
        { tm.Counter(2, "{} of 4 ({})"), "2 of 4 (2)", "4 of 4 (4)" },
        { tm.Counter(2, "Count: %5d/1200"), "Count:     2/1200",
          "Count:     4/1200" },
        { tm.Counter { 2, "{} done" }, "2 done", "4 done" },
        { tm.Counter { print_every = 2, print_message = "at {}" }, "at 2",
          "at 4" },
        { tm.Counter(2, "100%: {}"), "100%: 2", "100%: 4" },
      } do
        local lines = logged(function()
          for _ = 1, 4 do case[1]:increment() end
        end)
        assert.equal(2, #lines)
        assert.is_true(ends(lines[1], case[2]), lines[1])
        assert.is_true(ends(lines[2], case[3]), lines[2])
      end
    end)

  it("logs once for a multiple that is met or passed", function()
    local lines = logged(function()
      local counter = tm.Counter(10, "at {}")
      counter:increment(9)
      counter:increment(3)
      counter:increment(7)
      counter:increment(1)
      counter:increment(35)
    end)
    assert.equal(3, #lines)
    assert.match("at 1[02]$", lines[1])
    assert.is_true(ends(lines[2], "at 20"))
    assert.match("at 5[05]$", lines[3])
  end)

  it("logs each multiple once, whoever met it", function()
    local lines = logged(function()
      local pool <close> = pools.new "thread"
      local counter = tm.Counter(10, "at {}")
      pool:map(function() counter:increment() end, tm.range(500), 1)
    end)
    local seen, count = {}, 0
    for _, line in ipairs(lines) do
      local n = line:match "at (%d+)$"
      assert.is_nil(seen[n])
      seen[n] = true
      count = count + 1
    end
    assert.equal(50, count)
    for n = 10, 500, 10 do assert.is_true(seen[tostring(n)], tostring(n)) end
  end)

  it("says what is wrong with it", function()
    faults.at_line("option 'print_every' must be a whole number from 1 (got 0)",
      function() tm.Counter(0) end)
    faults.at_line("option 'print_every' must be a whole number from 1 (got 1.5)",
      function() tm.Counter(1.5) end)
    faults.at_line('option \'print_every\' must be a whole number from 1 (got "x")',
      function() tm.Counter("x") end)
    faults.at_line("option 'print_message' must be a string (got 5)",
      function() tm.Counter(1, 5) end)
    local text = "option 'print_message' must have a place for the number, "
      .. "{} or a format such as %d (got \"%s\")"
    faults.at_line((text:gsub("%%s", "%%d of %%d")),
      function() tm.Counter(1, "%d of %d") end)
    faults.at_line((text:gsub("%%s", "steps")),
      function() tm.Counter(1, "steps") end)
    faults.at_line("unknown option 'print_evry' (did you mean 'print_every'?)",
      function() tm.Counter { print_evry = 3 } end)
    local counter = tm.Counter(10)
    assert.match("number expected, got string",
      faults.of(counter.increment, counter, "x"))
    assert.match("no integer representation",
      faults.of(counter.increment, counter, 0.5))
  end)
end)
