--- progress.lua: how far a map is, in one line
---
--- On a terminal the line is drawn again over itself, at most ten times a
--- second. Elsewhere a whole line is written now and then: the first after
--- five seconds, the next after ever longer gaps, and a last one when any
--- was written. Whoever runs the map says how far it is; nothing here runs
--- by itself.

---@class tidemill.progress
---@field private total integer|nil
---@field private name string|nil
---@field private stream file*
---@field private tty boolean
---@field private clock fun(): number
---@field private width integer
---@field private started number when the map began, by `clock`
---@field private due number when the next line may be written
---@field private gap number seconds from one plain line to the next
---@field private drawn integer columns of the line on the terminal
---@field private lines integer lines written so far
---@field private ended boolean
local Progress = {}
Progress.__index = Progress

local progress = {}

local REDRAW = 0.1
local FIRST_GAP = 5
local LONGEST_GAP = 600
local NARROWEST_BAR, WIDEST_BAR = 8, 40

--- Seconds as 0:05, 1:05, 2:03:10; "-:--" when they are not known.
---@param seconds number
---@return string
function progress.time(seconds)
  if not (seconds >= 0 and seconds < 1e9) then return "-:--" end
  local s = seconds // 1 | 0
  if s < 3600 then return ("%d:%02d"):format(s // 60, s % 60) end
  return ("%d:%02d:%02d"):format(s // 3600, s // 60 % 60, s % 60)
end

--- Three digits, however large the number before its unit.
local function three_digits(x)
  if x < 9.995 then return ("%.2f"):format(x) end
  if x < 99.95 then return ("%.1f"):format(x) end
  return ("%.0f"):format(x)
end

--- Items per second as 12.3 k/s; slow ones per minute or hour.
---@param rate number
---@return string
function progress.rate(rate)
  if not (rate > 0 and rate < 1e15) then return "- /s" end
  if rate >= 999.5e6 then return three_digits(rate / 1e9) .. " G/s" end
  if rate >= 999.5e3 then return three_digits(rate / 1e6) .. " M/s" end
  if rate >= 999.5 then return three_digits(rate / 1e3) .. " k/s" end
  if rate >= 0.5 then return three_digits(rate) .. " /s" end
  if rate * 60 >= 0.5 then return three_digits(rate * 60) .. " /min" end
  return three_digits(rate * 3600) .. " /h"
end

--- Columns that a text takes; bytes where it is not UTF-8.
local function columns(text)
  return utf8.len(text) or #text
end

--- The first n columns of a text.
local function cut(text, n)
  if columns(text) <= n then return text end
  if not utf8.len(text) then return text:sub(1, n) end
  return text:sub(1, utf8.offset(text, n + 1) - 1)
end

local function bar(fraction, width)
  local full = fraction * width // 1 | 0
  return "[" .. ("#"):rep(full) .. ("."):rep(width - full) .. "]"
end

--- What stands before the bar: the name and how many are done.
function Progress:head(done)
  local name = self.name and cut(self.name, self.width // 4) .. " " or ""
  if not self.total then return ("%s%d done"):format(name, done) end
  local total = tostring(self.total)
  return ("%s%" .. #total .. "d/%s"):format(name, done, total)
end

--- What stands after it: rate, times and failures.
function Progress:tail(done, failed, elapsed)
  local rate = elapsed > 0 and done / elapsed or 0
  local parts = { progress.rate(rate), progress.time(elapsed) .. " elapsed" }
  if self.total and done < self.total and not self.ended then
    local left = rate > 0 and (self.total - done) / rate or math.huge
    parts[#parts + 1] = progress.time(left) .. " left"
  end
  if failed > 0 then parts[#parts + 1] = failed .. " failed" end
  return table.concat(parts, ", ")
end

--- The line; on a terminal a bar takes what room the rest leaves, up to a
--- limit.
function Progress:compose(done, failed, elapsed)
  local head, tail = self:head(done), self:tail(done, failed, elapsed)
  if not self.total then return head .. "  " .. tail end
  local fraction = math.min(1, math.max(0, done / self.total))
  tail = (" %3d%%  "):format(fraction * 100 // 1 | 0) .. tail
  local room = self.width - 1 - columns(head) - #"  []" - #tail
  if not self.tty or room < NARROWEST_BAR then return head .. tail end
  return head .. "  " .. bar(fraction, math.min(room, WIDEST_BAR)) .. tail
end

--- Writes the line over the last one; blanks cover what was longer there.
function Progress:draw(line)
  line = cut(line, self.width - 1)
  local blanks = (" "):rep(self.drawn - columns(line))
  self.drawn = columns(line)
  self.stream:write("\r" .. line .. blanks)
  self.stream:flush()
end

function Progress:write(done, failed, now)
  local line = self:compose(done, failed, now - self.started)
  self.lines = self.lines + 1
  if self.tty then return self:draw(line) end
  self.stream:write(line .. "\n")
  self.stream:flush()
end

--- Tells how many items are done, those that failed among them. Cheap when
--- no line is due.
---@param done integer
---@param failed? integer
function Progress:update(done, failed)
  if self.ended or self.total == 0 then return end
  local now = self.clock()
  if now < self.due then return end
  self:write(done, failed or 0, now)
  if self.tty then
    self.due = now + REDRAW
  else
    self.gap = math.min(self.gap * 2, LONGEST_GAP)
    self.due = now + self.gap
  end
end

--- Writes the last line. Later calls do nothing.
---@param done integer
---@param failed? integer
function Progress:finish(done, failed)
  if self.ended or self.total == 0 then return end
  self.ended = true
  if not self.tty and self.lines == 0 then return end
  self:write(done, failed or 0, self.clock())
  if self.tty then
    self.stream:write("\n")
    self.stream:flush()
  end
end

--- Wipes the line off the terminal, for a caller about to write there; the
--- next update draws it anew.
function Progress:clear()
  if not self.tty or self.drawn == 0 or self.ended then return end
  self.stream:write("\r" .. (" "):rep(self.drawn) .. "\r")
  self.stream:flush()
  self.drawn, self.due = 0, -math.huge
end

--- Starts the line of one map.
---@param options? {total?: integer, name?: string, stream?: file*,
---  tty?: boolean, clock?: (fun(): number), width?: integer} total: items,
---  nil when it is not known; tty: whether stream is a terminal; clock: in
---  seconds, from any beginning; width: the terminal's columns
---@return tidemill.progress
function progress.new(options)
  options = options or {}
  local clock = options.clock or os.time
  local now, tty = clock(), options.tty or false
  return setmetatable({
    total = options.total,
    name = options.name,
    stream = options.stream or io.stderr,
    tty = tty,
    clock = clock,
    width = math.max(options.width or 80, 20),
    started = now,
    due = tty and now or now + FIRST_GAP,
    gap = FIRST_GAP,
    drawn = 0,
    lines = 0,
    ended = false,
  }, Progress)
end

return progress
