--- travel_module.lua: a module of the script's, for specs of what travels

local M = { data = { 1, 2 } }

local calls = 0

---@return integer how often it was called in this state
function M.count()
  calls = calls + 1
  return calls
end

M.Point = {}
M.Point.__index = M.Point

---@return table
function M.Point.new(x, y) return setmetatable({ x = x, y = y }, M.Point) end

---@return number
function M.Point:sum() return self.x + self.y end

--- Found by what it is, not by what is in it.
M.none = setmetatable({}, { __tostring = function() return "none" end })

function tm_test_helper(x) return x + 1 end -- luacheck: ignore 111

return M
