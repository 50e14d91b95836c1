--- range.lua: numbers from first to last, without a table of them

---@class tidemill.range
---@field first number
---@field step number
---@field n integer how many numbers there are
local Range = {}

--- How far a last float may miss a step and still be meant, in steps: the
--- rounding of (last - first) / step.
local SLACK = 1e-9

local function count(first, last, step)
  if math.type(first) == "integer" and math.type(step) == "integer" and
     math.type(last) == "integer" then
    return (last - first) // step + 1
  end
  return math.floor((last - first) / step + SLACK) + 1
end

local function check(value, index)
  if type(value) ~= "number" then
    error(("bad argument #%d to 'range' (number expected, got %s)")
      :format(index, type(value)), 3)
  end
  if value ~= value or value == math.huge or value == -math.huge then
    error(("bad argument #%d to 'range' (a finite number expected)")
      :format(index), 3)
  end
end

--- The numbers first, first + step, ... up to last. With one argument, the
--- integers from 1 to it.
---@param first number
---@param last? number
---@param step? number 1 unless given; not 0
---@return tidemill.range
local function range(first, last, step)
  check(first, 1)
  if last == nil then first, last = 1, first end
  check(last, 2)
  if step == nil then step = 1 end
  check(step, 3)
  if step == 0 then error("bad argument #3 to 'range' ('step' is zero)", 2) end
  if math.type(first) ~= math.type(step) then
    first, step = first + 0.0, step + 0.0
  end
  return setmetatable({
    first = first, step = step, n = math.max(count(first, last, step), 0)
  }, Range)
end

function Range.__len(self) return rawget(self, "n") end

function Range.__index(self, i)
  if math.type(i) ~= "integer" or i < 1 or i > self.n then return nil end
  return self.first + (i - 1) * self.step
end

function Range.__tostring(self)
  return ("tidemill.range (%d from %s step %s)"):format(self.n, self.first,
    self.step)
end

Range.__name = "tidemill.range"

return { new = range, Range = Range }
