--- Fresh workers that inherit today's state, with large arrays in the script:
--- process_pool(true) until the first result.

local measure = require "support.measure"
local tm = require "tidemill"

local array = tm.array("f64", measure.size(2 ^ 27, 2 ^ 24) // 1 | 0):fill(1)

local function first() return array[1] end

local function refresh() return tm.process_pool(true):apply(first) end

local ok = pcall(refresh)
local seconds = ok and measure.each(1, refresh, measure.size(9, 5)) or nil
measure.say("time", seconds, "processes")
