--- faults.lua: what a call must raise, and where

local assert = require "luassert"

local faults = {}

--- Calls f, which must raise the message `text` with the position of the
--- line where f begins: so write f on one line.
---@param text string
---@param f function
function faults.at_line(text, f)
  local info = debug.getinfo(f, "S")
  local ok, e = pcall(f)
  assert.is_false(ok, "nothing was raised")
  assert.equal(("%s:%d: %s"):format(info.short_src, info.linedefined, text),
    e)
end

--- Calls f(...), which must raise; answers what.
---@param f function
---@return any
function faults.of(f, ...)
  local ok, e = pcall(f, ...)
  assert.is_false(ok, "nothing was raised")
  return e
end

--- Calls f(...), which must raise an error object of this kind; answers it.
---@param kind string
---@param f function
---@return table
function faults.kind(kind, f, ...)
  local e = faults.of(f, ...)
  assert.is_table(e, tostring(e))
  assert.equal(kind, e.kind, tostring(e))
  return e
end

return faults
