--- Submit one call to a warm pool and get its result.

local measure = require "support.measure"

local function add_one(x) return x + 1 end

measure.pools({ "one" }, function(who, make)
  local pool <close> = make()
  measure.say("one", measure.each(measure.size(2000, 500), function(n)
    for i = 1, n do pool:apply(add_one, { i }) end
  end), who)
end)
