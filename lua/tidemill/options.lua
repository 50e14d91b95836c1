--- options.lua: the options that pool methods take, checked

local core = require "tidemill.core"
local nearest = require "tidemill.nearest"

local options = {}

--- Longer than anybody waits, and short enough to be counted in ns.
local MOST_SECONDS <const> = 1e9

local function is_whole(x, least)
  local n = math.type(x) == "integer" and x or
    (math.type(x) == "float" and math.tointeger(x))
  return n and n >= least and n or nil
end

--- A function, or what can be called like one.
---@param f any
---@return boolean
function options.callable(f)
  if type(f) == "function" then return true end
  local meta = debug.getmetatable(f)
  return type(meta) == "table" and rawget(meta, "__call") ~= nil
end

--- Each option: what it may be, in words, and a function that answers the
--- value to use or nil.
local kinds = {
  whole = { "a whole number from 1", function(x) return is_whole(x, 1) end },
  count = { "a whole number from 0", function(x) return is_whole(x, 0) end },
  integer = { "a whole number", function(x)
    return is_whole(x, math.mininteger)
  end },
  seconds = { "a number of seconds above 0", function(x)
    if type(x) ~= "number" or x ~= x or x <= 0 then return nil end
    return math.min(x, MOST_SECONDS)
  end },
  callable = { "a function", function(x)
    return options.callable(x) and x or nil
  end },
  table = { "a table", function(x) return type(x) == "table" and x or nil end },
  string = { "a string", function(x)
    return type(x) == "string" and x or nil
  end },
  array = { "an array", function(x) return core.is_array(x) and x or nil end },
  errors = { '"raise" or "collect"', function(x)
    return (x == "raise" or x == "collect") and x or nil
  end },
}

local boolean = "true or false"

--- The options of pool methods.
local declared = {
  chunksize = "whole",
  callback = "callable",
  error_callback = "callable",
  kwds = "table",
  progress = boolean,
  seed = "integer",
  timeout = "seconds",
  retries = "count",
  errors = "errors",
  out = "array",
  name = "string",
}

local names = {}
for name in pairs(declared) do names[#names + 1] = name end
table.sort(names)

local function show(x)
  if type(x) == "string" then return ("%q"):format(x) end
  if type(x) == "number" or type(x) == "boolean" or x == nil then
    return tostring(x)
  end
  return "a " .. type(x)
end

--- Checks one value; raises at `level` above the caller.
---@param name string for the message
---@param value any
---@param kind string a key of kinds, or "true or false"
---@param level integer
---@return any
function options.check(name, value, kind, level)
  if kind == boolean then
    if type(value) == "boolean" then return value end
    error(("option '%s' must be %s (got %s)"):format(name, boolean,
      show(value)), level + 1)
  end
  local found = kinds[kind][2](value)
  if found == nil then
    error(("option '%s' must be %s (got %s)"):format(name, kinds[kind][1],
      show(value)), level + 1)
  end
  return found
end

--- The error for an option that does not exist.
---@param name any
---@param allowed string[]
---@param level integer
function options.unknown(name, allowed, level)
  error(nearest.unknown("option", name, allowed), level + 1)
end

--- Reads the options of a call: a table, a number (the chunksize), or nil.
--- The options of a task that was declared come first; those of the call
--- override them.
---@param given any
---@param task table|nil options of the task
---@param level integer
---@return table
function options.read(given, task, level)
  local found = {}
  if task then
    for name, value in pairs(task) do found[name] = value end
  end
  if given == nil then return found end
  if type(given) == "number" then given = { chunksize = given } end
  if type(given) ~= "table" then
    error(("options must be a table or a chunksize (got %s)")
      :format(show(given)), level + 1)
  end
  for name, value in pairs(given) do
    local kind = declared[name]
    if not kind then options.unknown(name, names, level + 1) end
    found[name] = options.check(name, value, kind, level + 1)
  end
  return found
end

return options
