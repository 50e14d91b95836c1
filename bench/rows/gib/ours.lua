--- Sums of 64 slices of one large array by four workers, once they are warm;
--- and the memory of the script and its workers together, as a share of the
--- array's.

local measure = require "support.measure"
local memory = require "support.memory"
local tm = require "tidemill"

local SLICES <const> = 64
local N <const> = measure.size(2 ^ 27, 2 ^ 24) // 1 | 0
local SIZE <const> = N // SLICES

local array = tm.array("f64", N):fill(1)

local function slice_sum(i)
  return array:view((i - 1) * SIZE + 1, i * SIZE):sum()
end

measure.pools({ "time", "memory" }, function(who, make)
  local pool <close> = make { workers = 4 }
  local slices = tm.range(SLICES)
  local sums = pool:map(slice_sum, slices, 1)
  assert(sums[1] == SIZE and sums[SLICES] == SIZE)
  -- of the whole GiB, whatever the size of this run
  measure.say("time", measure.each(1, function()
    pool:map(slice_sum, slices, 1)
  end) * 2 ^ 27 / N, who)
  measure.say("memory", memory.family() / (8 * N), who)
end)
