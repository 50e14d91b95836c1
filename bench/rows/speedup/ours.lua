--- The speed-up of a kernel in plain Lua over a plain loop, with a time limit
--- set, so that everything that watches is there.

local measure = require "support.measure"
local tm = require "tidemill"

local ITEMS <const>, STEPS <const> = 100, measure.size(200000, 60000)

local function burn(i)
  local x = i
  for _ = 1, STEPS do x = x * 0.999 + 0.001 end
  return x
end

local serial = measure.each(1, function()
  for i = 1, ITEMS do burn(i) end
end, 3)
measure.pools({ "speedup" }, function(who, make)
  local pool <close> = make()
  local shared = measure.each(1, function()
    pool:map(burn, tm.range(ITEMS), { timeout = 60 })
  end, 3)
  measure.say("speedup", serial / shared, who)
end)
