--- 1e5 records to a worker, which answers a sum over them.

local measure = require "support.measure"

local records = {}
for i = 1, 100000 do
  records[i] = { id = i, name = "n" .. i, xs = { 1, 2, 3 } }
end

local function sum(t)
  local s = 0
  for i = 1, #t do s = s + t[i].id + t[i].xs[2] end
  return s
end

measure.pools({ "time" }, function(who, make)
  local pool <close> = make { workers = 1 }
  measure.say("time", measure.each(1, function()
    pool:apply(sum, { records })
  end), who)
end)
