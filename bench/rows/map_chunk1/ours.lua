--- The same map when each item is sent by itself: chunksize 1.

local measure = require "support.measure"
local tm = require "tidemill"

local N <const> = measure.size(100000, 30000)

local function add_one(x) return x + 1 end

measure.pools({ "item" }, function(who, make)
  local pool <close> = make()
  measure.say("item", measure.each(N, function(n)
    pool:map(add_one, tm.range(n), 1)
  end), who)
end)
