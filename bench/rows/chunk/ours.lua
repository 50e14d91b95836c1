--- What one more chunk costs: of an empty kernel, one item a chunk.

local kernels = require "support.kernels"
local measure = require "support.measure"
local tm = require "tidemill"

local pool <close> = tm.Pool { workers = measure.workers }
local N <const> = 20000
local range, nothing = { N, chunksize = 1 }, kernels.nothing

measure.say("shared", measure.short(N, function()
  pool:run(nothing, range)
end))
measure.say("alone", measure.short(N, function() nothing(range) end))
