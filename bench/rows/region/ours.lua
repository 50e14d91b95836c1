--- A region whose threads meet, as a script starts it: pool:run.

local kernels = require "support.kernels"
local measure = require "support.measure"
local tm = require "tidemill"

local pool <close> = tm.Pool { workers = measure.workers }
local meet, range = kernels.meet, { measure.workers, chunksize = 1 }

local function meetings(n)
  kernels.begin(1)
  for i = 1, n do pool:run(meet, range, i * measure.workers) end
end

local function empty(n)
  for _ = 1, n do pool:run(kernels.nothing, 1000) end
end

measure.say("meet", measure.short(100, meetings))
measure.say("empty", measure.short(100, empty))
