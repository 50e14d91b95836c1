--- One work request, and the loop until it is done.

local measure = require "support.measure"
local uv = require "luv"

local work = uv.new_work(function(x) return x + 1 end, function() end)

measure.say("one", measure.each(measure.size(2000, 500), function(n)
  for i = 1, n do
    work:queue(i)
    uv.run()
  end
end))
