--- A region of 0.4 ms of work after a sleep, and what an idle pool burns.

local kernels = require "support.kernels"
local measure = require "support.measure"
local stats = require "support.stats"
local tm = require "tidemill"

local pool <close> = tm.Pool { workers = measure.workers }
local n = measure.size(600, 150)
local items, times = tm.array("f64", 1), tm.array("f64", 2)
local wakes, excesses = {}, {}

kernels.prepare(1, items)
local count = math.tointeger(items[1])
for _ = 1, 10 do pool:run(kernels.work, count) end

local WORK <const> = 0.4e-3 -- of a region, seconds
local began, used = tm.clock(), os.clock()
for i = 1, n do
  kernels.nap(1)
  pool:run(kernels.work, count)
  kernels.note(1, times)
  wakes[i], excesses[i] = times[1], times[2]
end
measure.say("burn",
  (os.clock() - used - n * WORK) / (tm.clock() - began) * 100)
for name, list in pairs { wake = wakes, excess = excesses } do
  table.sort(list)
  measure.say(name .. "50", stats.quantile(list, 0.5))
  measure.say(name .. "99", stats.quantile(list, 0.99))
end

-- CPU time of all threads while the script sleeps.
began, used = tm.clock(), os.clock()
for _ = 1, measure.size(500, 200) do kernels.nap(1) end
measure.say("idle", (os.clock() - used) / (tm.clock() - began) * 100)
