--- Results as a file: a Lua table, and what belongs to reading one.
---
---     return {
---       when = "2024-05-01 12:00:00", machine = { cpus = 2, ... },
---       quick = false, workers = 2, rounds = 5,
---       figures = {
---         { row = "map", measure = "table", who = "threads",
---           median = 7.1e-08, spread = 1.1, samples = { ... } },
---       },
---     }

local stats = require "support.stats"

local results = {}

---@class bench.figure
---@field row string
---@field measure string
---@field who string
---@field ours boolean
---@field median? number seconds, or a plain number; nil when there is none
---@field spread? number the largest sample over the smallest
---@field samples number[]
---@field why? string there is none

---@class bench.results
---@field when string
---@field machine table
---@field quick boolean
---@field workers integer
---@field rounds integer
---@field figures bench.figure[]

local function literal(value, indent)
  if math.type(value) == "float" then return ("%.9g"):format(value) end
  if type(value) ~= "table" then return ("%q"):format(value) end
  local keys, parts = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) then return a < b end
    return type(a) == "number"
  end)
  for _, key in ipairs(keys) do
    local name = type(key) == "string" and key .. " = " or ""
    local inner = literal(value[key], indent .. "  ")
    parts[#parts + 1] = indent .. "  " .. name .. inner
  end
  return "{\n" .. table.concat(parts, ",\n") .. "\n" .. indent .. "}"
end

--- Writes a file of results.
---@param path string
---@param data bench.results
function results.save(path, data)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write("return ", literal(data, ""), "\n"))
end

--- Reads a file of results; it is data, and sees nothing.
---@param path string
---@return bench.results
function results.load(path)
  local data = assert(loadfile(path, "t", {}))()
  if type(data) ~= "table" or type(data.figures) ~= "table" then
    error(path .. " has no results", 0)
  end
  return data
end

--- Sums up the samples of a figure.
---@param figure bench.figure
function results.finish(figure)
  if #figure.samples > 0 then
    figure.median, figure.spread = stats.median(figure.samples)
  end
end

--- One figure of many.
---@param data bench.results
---@param row string
---@param id string
---@param who string
---@return bench.figure?
function results.find(data, row, id, who)
  for _, figure in ipairs(data.figures) do
    if figure.row == row and figure.measure == id and figure.who == who then
      return figure
    end
  end
end

return results
