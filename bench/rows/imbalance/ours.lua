--- Speed-up over one thread when the cost of an item grows with its number,
--- with the default schedule.

local kernels = require "support.kernels"
local measure = require "support.measure"
local tm = require "tidemill"

local pool <close> = tm.Pool { workers = measure.workers }
local ITEMS <const> = 4000
local rising = kernels.rising

local alone = measure.each(1, function() rising(ITEMS) end)
local shared = measure.each(1, function() pool:run(rising, ITEMS) end)
measure.say("speedup", alone / shared)
