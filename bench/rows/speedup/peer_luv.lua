local measure = require "support.measure"
local uv = require "luv"

local ITEMS <const>, STEPS <const> = 100, measure.size(200000, 60000)

local function burn(i, steps)
  local x = i
  for _ = 1, steps do x = x * 0.999 + 0.001 end
  return x
end

local work = uv.new_work(burn, function() end)
local serial = measure.each(1, function()
  for i = 1, ITEMS do burn(i, STEPS) end
end, 3)
local shared = measure.each(1, function()
  for i = 1, ITEMS do work:queue(i, STEPS) end
  uv.run()
end, 3)
measure.say("speedup", serial / shared)
