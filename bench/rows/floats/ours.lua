--- A table of 1e6 floats to a worker, which answers their sum; and the memory
--- that it takes beyond the table itself.

local measure = require "support.measure"
local memory = require "support.memory"

local floats = {}
for i = 1, 1000000 do floats[i] = i + 0.5 end

local function sum(t)
  local s = 0
  for i = 1, #t do s = s + t[i] end
  return s
end

measure.pools({ "time", "memory" }, function(who, make)
  local pool <close> = make { workers = 1 }
  pool:apply(sum, { { 1 } })
  collectgarbage()
  local resets, before = memory.reset(), memory.resident()
  pool:apply(sum, { floats })
  measure.say("memory", resets and memory.peak() - before or nil, who)
  measure.say("time", measure.each(1, function()
    pool:apply(sum, { floats })
  end), who)
end)
