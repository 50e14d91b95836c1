package.path = "lua/?.lua;" .. package.path
local progress = require "tidemill.progress"

-- A stream that keeps what is written to it, a string per write.
local function recorder()
  local stream = { writes = {}, flushes = 0 }
  function stream:write(text)
    self.writes[#self.writes + 1] = text
    return self
  end
  function stream:flush() self.flushes = self.flushes + 1 end
  function stream:text() return table.concat(self.writes) end
  return stream
end

-- A map's line with a clock that the test sets: now(seconds).
local function start(options)
  local time = 1000
  local stream = recorder()
  options.stream = stream
  options.clock = function() return time end
  local line = progress.new(options)
  return line, stream, function(seconds) time = 1000 + seconds end
end

describe("progress.time", function()
  local cases = { [0] = "0:00", [5.9] = "0:05", [65] = "1:05",
                  [3599.99] = "59:59", [3600] = "1:00:00",
                  [7390] = "2:03:10", [360000] = "100:00:00" }
  for seconds, text in pairs(cases) do
    it("shows " .. seconds .. " s as " .. text, function()
      assert.equal(text, progress.time(seconds))
    end)
  end

  it("shows what is not known as such", function()
    for _, seconds in ipairs { math.huge, -1, 0 / 0 } do
      assert.equal("-:--", progress.time(seconds))
    end
  end)
end)

describe("progress.rate", function()
  local cases = { [12345] = "12.3 k/s", [1.234] = "1.23 /s",
                  [999.4] = "999 /s", [999.6] = "1.00 k/s",
                  [99.96] = "100 /s", [9.996] = "10.0 /s",
                  [2.5e6] = "2.50 M/s", [1e9] = "1.00 G/s",
                  [0.4] = "24.0 /min", [0.001] = "3.60 /h" }
  for rate, text in pairs(cases) do
    it("shows " .. rate .. " as " .. text, function()
      assert.equal(text, progress.rate(rate))
    end)
  end

  it("shows what is no rate as such", function()
    for _, rate in ipairs { 0, math.huge, 0 / 0, -1 } do
      assert.equal("- /s", progress.rate(rate))
    end
  end)
end)

describe("on a terminal", function()
  it("draws one line over itself, ended by finish", function()
    local line, stream, now = start { total = 200, name = "sweep",
                                      tty = true }
    line:update(0)
    now(10)
    line:update(50)
    now(20)
    line:finish(200)
    local text = stream:text()
    assert.equal(3, select(2, text:gsub("\r", "")))
    assert.equal(1, select(2, text:gsub("\n", "")))
    assert.equal("\n", text:sub(-1))
    assert.matches("^\rsweep   0/200  %[%.+%]   0%%", stream.writes[1])
    assert.matches("^\rsweep  50/200  %[#+%.+%]  25%%  5%.00 /s, "
      .. "0:10 elapsed, 0:30 left%s*$", stream.writes[2])
    assert.matches("^\rsweep 200/200  %[#+%] 100%%  10%.0 /s, "
      .. "0:20 elapsed%s*$", stream.writes[3])
  end)

  it("draws at most ten times a second", function()
    local line, stream, now = start { total = 1000, tty = true }
    for ms = 0, 1000 do
      now(ms / 1000)
      line:update(ms)
    end
    assert.is_true(#stream.writes >= 10, #stream.writes)
    assert.is_true(#stream.writes <= 11, #stream.writes)
  end)

  it("tells of failures, and of none when there are none", function()
    local line, stream, now = start { total = 10, tty = true }
    line:update(1, 0)
    now(1)
    line:update(4, 2)
    line:finish(10, 3)
    assert.not_matches("failed", stream.writes[1])
    assert.matches(", 2 failed", stream.writes[2])
    assert.matches(", 3 failed", stream.writes[3])
  end)

  it("leaves the last column free, whatever the name and numbers", function()
    for _, width in ipairs { 20, 40, 60, 80, 132 } do
      local line, stream, now = start {
        total = 123456789, name = ("näme"):rep(30), tty = true, width = width
      }
      now(99999)
      line:update(12345678, 4321)
      line:finish(123456789, 4321)
      for _, text in ipairs(stream.writes) do
        assert.is_true(utf8.len(text:gsub("[\r\n]", "")) < width, text)
      end
    end
  end)

  it("covers a longer line with blanks", function()
    local line, stream, now = start { name = "m", tty = true }
    line:update(10, 123456)
    now(1)
    line:update(20, 0)
    local before, after = stream.writes[1], stream.writes[2]
    assert.equal(#before, #after)
    assert.matches("%s+$", after)
  end)

  it("draws a map that ends at once", function()
    local line, stream = start { total = 3, tty = true }
    line:finish(3)
    assert.matches("^\r3/3 .*100%%.*\n$", stream:text())
  end)

  it("shows where a map was stopped, with nothing left to do", function()
    local line, stream, now = start { total = 10, tty = true }
    now(2)
    line:finish(4)
    assert.matches("4/10 .* 40%%", stream:text())
    assert.not_matches("left", stream:text())
  end)

  it("clears the line for others and draws it anew", function()
    local line, stream = start { total = 10, tty = true }
    line:clear()
    assert.equal("", stream:text())
    line:update(1)
    local drawn = stream:text()
    line:clear()
    assert.equal(drawn .. "\r" .. (" "):rep(#drawn - 1) .. "\r",
      stream:text())
    line:update(2)
    assert.matches("2/10", stream.writes[#stream.writes])
  end)

  it("does not mind more items than were promised", function()
    local line, stream = start { total = 10, tty = true }
    line:update(12)
    assert.matches("12/10 .*%[#+%] 100%%", stream:text())
    assert.not_matches("left", stream:text())
  end)
end)

describe("elsewhere", function()
  it("writes whole lines, first after 5 s, then with growing gaps",
    function()
      local line, stream, now = start { total = 1000, name = "sweep" }
      local times = {}
      for second = 0, 100 do
        now(second)
        local before = #stream.writes
        line:update(second)
        if #stream.writes > before then times[#times + 1] = second end
      end
      assert.same({ 5, 15, 35, 75 }, times)
      assert.equal("sweep    5/1000   0%  1.00 /s, 0:05 elapsed, "
        .. "16:35 left\n", stream.writes[1])
      for _, text in ipairs(stream.writes) do
        assert.matches("^[^\r\n]+\n$", text)
      end
    end)

  it("does not let the gaps grow for ever", function()
    local line, stream, now = start { total = 1e6 }
    for minute = 0, 600 do
      now(minute * 60)
      line:update(minute)
    end
    assert.is_true(#stream.writes > 55, #stream.writes)
  end)

  it("ends with a last line when any was written", function()
    local line, stream, now = start { total = 10 }
    now(6)
    line:update(5)
    now(12)
    line:finish(10, 1)
    assert.equal(2, #stream.writes)
    assert.matches("10/10 .*100%%.*1 failed\n$", stream.writes[2])
  end)

  it("writes nothing for a map of less than 5 s", function()
    local line, stream, now = start { total = 10 }
    now(4.9)
    line:update(5)
    line:finish(10)
    assert.equal("", stream:text())
  end)
end)

describe("in general", function()
  it("writes nothing for no items", function()
    for _, tty in ipairs { true, false } do
      local line, stream, now = start { total = 0, tty = tty }
      now(10)
      line:update(0)
      line:clear()
      line:finish(0)
      assert.equal("", stream:text())
    end
  end)

  it("drops bar, share and time left when the total is not known",
    function()
      local line, stream, now = start { name = "imap", tty = true }
      now(10)
      line:update(123)
      assert.equal("\rimap 123 done  12.3 /s, 0:10 elapsed", stream:text())
    end)

  it("writes nothing after finish", function()
    for _, tty in ipairs { true, false } do
      local line, stream, now = start { total = 10, tty = tty }
      now(10)
      line:update(5)
      line:finish(10)
      local text = stream:text()
      now(1000)
      line:update(10)
      line:clear()
      line:finish(10)
      assert.equal(text, stream:text())
    end
  end)

  it("flushes each line", function()
    local line, stream = start { total = 10, tty = true }
    line:update(1)
    assert.equal(1, stream.flushes)
  end)
end)
