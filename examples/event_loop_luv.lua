-- A program that lives in an event loop (luv, the loop of libuv) and computes
-- on every core meanwhile: timers, sockets and files are served while workers
-- run, and results come in as events.
--
--     tidemill examples/event_loop_luv.lua [jobs]
--
-- tm.fileno() is a descriptor that is readable when jobs have ended; the loop
-- watches it, and tm.poll() calls their callbacks, on the loop's own thread.
-- With cqueues the same is
--
--     loop:wrap(function()
--       while pending > 0 do
--         cqueues.poll({ pollfd = tm.fileno(), events = "r" })
--         tm.poll()
--       end
--     end)

local tm = require "tidemill"
local uv = require "luv"

local JOBS <const> = tonumber(arg and arg[1]) or 12
local POINTS <const> = 200000

--- Points of n in a square that lie in the circle in it.
local function count_inside(n)
  local inside = 0
  for _ = 1, n do
    local x, y = math.random(), math.random()
    if x * x + y * y < 1 then inside = inside + 1 end
  end
  return inside
end

local pool = tm.thread_pool()
local watcher, ticker = uv.new_poll(tm.fileno()), uv.new_timer()
local pending, inside, ticks = JOBS, 0, 0

local function finish()
  watcher:close()
  ticker:close()
  local points = JOBS * POINTS
  local pi = 4 * inside / points
  print(("%d jobs, %d ticks of the loop's timer meanwhile"):format(JOBS,
    ticks))
  print(("pi is about %.4f (from %d points)"):format(pi, points))
  assert(math.abs(pi - math.pi) < 10 / math.sqrt(points))
end

local function on_result(n)
  inside = inside + n
  pending = pending - 1
  if pending == 0 then finish() end
end

for job = 1, JOBS do
  pool:apply_async(count_inside, { POINTS }, {
    seed = job,
    callback = on_result,
    error_callback = tm.raiser,
  })
end

watcher:start("r", function(err)
  assert(not err, err)
  tm.poll()
end)
ticker:start(0, 5, function() ticks = ticks + 1 end)
uv.run()
