--- An element that all workers share, read in a loop.

local measure = require "support.measure"
local tm = require "tidemill"

local N <const> = 1000

local function reads(t)
  return function(n)
    local s = 0.0
    for _ = 1, n // N do
      for i = 1, N do s = s + t[i] end
    end
    return s
  end
end

local plain = {}
for i = 1, N do plain[i] = i + 0.5 end
local array, count = tm.array(plain), measure.size(1000000, 300000)
measure.say("read", measure.each(count, reads(plain)), "plain loop")
measure.say("read", measure.each(count, reads(array)))
measure.say("bulk", measure.each(1, function()
  for _ = 1, 1000 do array:sum() end
end) / 1000 / N)
