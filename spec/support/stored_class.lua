--- stored_class.lua: a class of a module, which workers load by themselves
---
--- Its `__index` comes after decorating, and no worker makes an instance
--- before it reads one that was sent.

local tm = require "tidemill"

local Grid = tm.glob_store_attributes("cells") {}
Grid.__index = Grid

---@param cells table
---@return table
function Grid.new(cells)
  local self = setmetatable({}, Grid)
  self.cells = cells
  return self
end

---@param i integer
---@return any
function Grid:cell(i)
  return self.cells[i]
end

return Grid
