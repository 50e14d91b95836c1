--- A map of a trivial function over numbers, default chunks: seconds an item,
--- from table to table and from array to array.

local measure = require "support.measure"
local tm = require "tidemill"

local N <const> = measure.size(1000000, 300000)

local function add_one(x) return x + 1 end

local items = {}
for i = 1, N do items[i] = i + 0.5 end
local from, to = tm.array(items), tm.array("f64", N)

local function plain()
  local out = {}
  for i = 1, N do out[i] = add_one(items[i]) end
  return out
end

local function measure_pool(who, pool)
  measure.say("table", measure.each(N, function()
    pool:map(add_one, items)
  end), who)
  measure.say("array", measure.each(N, function()
    pool:map(add_one, from, { out = to })
  end), who)
end

measure.say("table", measure.each(N, plain), "plain loop")
measure.pools({ "table", "array" }, function(who, make)
  local pool <close> = make()
  measure_pool(who, pool)
end)
measure_pool("fake", tm.FakePool())
