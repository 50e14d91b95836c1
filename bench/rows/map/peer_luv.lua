--- luv's thread pool: a work request for each item, as it offers no batches.

local measure = require "support.measure"
local uv = require "luv"

local done = 0
local work = uv.new_work(function(x) return x + 1 end,
  function() done = done + 1 end)

local N <const> = measure.size(50000, 20000)
measure.say("table", measure.each(N, function(n)
  for i = 1, n do work:queue(i + 0.5) end
  uv.run()
end))
