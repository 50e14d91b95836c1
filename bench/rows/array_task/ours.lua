--- A 1 MiB array to a task and back. It goes by handle; the task touches one
--- element.

local measure = require "support.measure"
local tm = require "tidemill"

local array = tm.array("f64", 2 ^ 17 // 1 | 0)

local function touch(a)
  a[1] = a[1] + 1
  return a
end

measure.pools({ "task" }, function(who, make)
  local pool <close> = make { workers = 1 }
  measure.say("task", measure.each(measure.size(1000, 300), function(n)
    for _ = 1, n do pool:apply(touch, { array }) end
  end), who)
end)
