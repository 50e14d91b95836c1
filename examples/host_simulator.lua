-- Steers host_simulator.c. The simulator gives it the table sim:
--
--   sim.n                cells along each side
--   sim.dt               the time of a step
--   sim.u, sim.v         the fields, arrays of n x n in the simulator's memory
--   sim.next_u, next_v   room for the next step
--   sim.record(step, v)  hands a frame to the simulator's writers
--   sim.report(text)     a line for its user
--
-- and the kernel "gray_scott". It returns the mass of both chemicals that
-- there must be in the end.

local tm = require "tidemill"

local STEPS <const> = ...
local FRAMES <const> = 8

local pool = tm.thread_pool()
local gray_scott = tm.kernel "gray_scott"
local n <const> = sim.n

local feed, kill = 0.037, 0.060
local expected -- the mass after the steps that were done

-- One step; and what it feeds and removes, by the sums that it answers.
local function step(to_u, to_v, u, v)
  local sums = pool:run(gray_scott, n, to_u, to_v, u, v, feed, kill)
  expected = (expected or sums[1] + sums[2])
    + sim.dt * (feed * (n * n - sums[1]) - (feed + kill) * sums[2])
end

-- Two at a time, so that the fields are in sim.u and sim.v again.
local function advance(steps)
  for _ = 1, steps, 2 do
    step(sim.next_u, sim.next_v, sim.u, sim.v)
    step(sim.u, sim.v, sim.next_u, sim.next_v)
  end
end

-- How much of the plane the pattern covers, counted by Lua on the workers:
-- they see the simulator's memory in place.
local v = sim.v
local function count_row(row)
  local count = 0
  for x = 1, n do
    if v:get(row, x) > 0.15 then count = count + 1 end
  end
  return count
end

local function coverage()
  local covered = 0
  for _, count in ipairs(pool:map(count_row, tm.range(1, n))) do
    covered = covered + count
  end
  return covered / (n * n)
end

-- Stripes grow; when they cover a fifth of the plane, less is fed and more is
-- removed, and they break into spots that divide.
local STRETCH <const> = math.max(2, STEPS // FRAMES // 2 * 2)
local breaking = false
for at = STRETCH, STEPS, STRETCH do
  advance(STRETCH)
  local part = coverage()
  sim.record(at, sim.v)
  sim.report(("step %5d: %4.1f %% covered, feed %.3f, kill %.3f"):format(at,
    100 * part, feed, kill))
  if not breaking and part > 0.2 then
    breaking, feed, kill = true, 0.030, 0.062
    sim.report "now spots"
  end
end
return expected
