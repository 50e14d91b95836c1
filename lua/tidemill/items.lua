--- items.lua: what a pool's method is given to work on
---
--- Items are a sequence (up to its `n` when it has one), a tm.range, an array
--- (its elements, or its rows), or an iterator function.

local core = require "tidemill.core"
local options = require "tidemill.options"
local Range = require("tidemill.range").Range

local items = {}

--- How many items (or arguments) a table has: its n, or its length.
---@param t table
---@param method string for messages
---@param level integer of errors, counted from the caller as error does
---@return integer
function items.length(t, method, level)
  local n = t.n
  if n == nil then return #t end
  local whole = math.type(n) == "integer" and n or
    (type(n) == "number" and math.tointeger(n))
  if whole and whole >= 0 then return whole end
  error(("bad argument #2 to '%s' (its 'n' is %s, not a count of items)")
    :format(method, tostring(n)), level + 1)
end

local function wrong(given, method, level)
  error(("bad argument #2 to '%s' (a sequence, a tm.range, an array or an "
    .. "iterator function expected, got %s)"):format(method, type(given)),
    level + 1)
end

--- pool:map(f, pairs(t)) passes next where the items go and t where the
--- options go.
local function check_triplet(given, extra, method, level)
  if extra == 0 or not options.callable(given) or type(given) == "table" then
    return
  end
  error(("'%s' was given the three values of pairs or ipairs: the second "
    .. "would be taken for options; pass a sequence, or an iterator function "
    .. "that needs no arguments"):format(method), level + 1)
end

--- Which of the four it is.
---@param given any
---@param extra integer how many arguments came after the options
---@param method string for messages
---@param level integer of errors, counted from the caller as error does
---@return "sequence"|"range"|"array"|"iterator" kind, integer|nil n
function items.kind(given, extra, method, level)
  check_triplet(given, extra, method, level + 1)
  if type(given) == "table" then
    if getmetatable(given) == Range then return "range", given.n end
    return "sequence", (items.length(given, method, level + 1))
  end
  if core.is_array(given) then return "array", #given end
  if not options.callable(given) then wrong(given, method, level + 1) end
  return "iterator"
end

--- All that an iterator gives, as a sequence with n.
---@param iterator function
---@return table
function items.collect(iterator)
  local t, n = {}, 0
  for v in iterator do
    n = n + 1
    t[n] = v
  end
  t.n = n
  return t
end

--- A function that answers the next item and true, or nothing at the end.
---@param given any
---@param kind string as of items.kind
---@param n integer|nil
---@return function
function items.source(given, kind, n)
  local i = 0
  if kind == "iterator" then
    return function()
      local v = given()
      return v, v ~= nil
    end
  end
  if kind == "array" and given.dtype == "c128" and given.rank == 1 then
    return function()
      i = i + 1
      if i > n then return nil, false end
      return { given:get(i) }, true
    end
  end
  return function()
    i = i + 1
    if i > n then return nil, false end
    return given[i], true
  end
end

return items
