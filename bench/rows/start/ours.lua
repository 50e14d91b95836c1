--- From nothing to the first result of a pool of its own, and loading the
--- module. The end of the pool is not in the time.

local began = os.clock()
local tm = require "tidemill"
local loaded = os.clock() - began

local measure = require "support.measure"
local stats = require "support.stats"

local function add_one(x) return x + 1 end

local function starts(make, n)
  local list = {}
  for i = 1, n do
    local start = tm.clock()
    local pool = make()
    pool:apply(add_one, { i })
    list[i] = tm.clock() - start
    pool:terminate()
    pool:join()
  end
  return (stats.median(list))
end

-- CPU time, as there is no finer clock before the module is loaded.
measure.say("require", loaded)
measure.pools({ "first" }, function(who, make)
  starts(make, 3)
  measure.say("first", starts(make, measure.size(40, 15)), who)
end)
