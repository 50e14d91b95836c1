--- What a pool costs beside the work: medians of several runs.
---
---     tidemill bench/overhead.lua [runs, default 7]
---
--- Times are of this machine, now: compare figures of the same run only.
--- "plain loop" is the floor: the same function called by a for loop.

local tm = require "tidemill"

local RUNS = math.tointeger(tonumber(arg and arg[1] or 7)) or 7

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

--- Seconds that f takes: the median, and the spread as largest / smallest.
local function time(f)
  local seconds = {}
  f()
  for run = 1, RUNS do
    collectgarbage()
    local began = tm.clock()
    f()
    seconds[run] = tm.clock() - began
  end
  local middle = median(seconds)
  return middle, seconds[#seconds] / seconds[1]
end

local function report(what, seconds, spread, unit, scale, count)
  print(("%-46s %9.2f %s  (spread %.1fx)"):format(what,
    seconds / count * scale, unit, spread))
end

local function identity(x) return x end

local function numbers(n)
  local t = {}
  for i = 1, n do t[i] = i + 0.5 end
  return t
end

local function records(n)
  local t = {}
  for i = 1, n do t[i] = { id = i, name = "n" .. i, xs = { 1, 2, 3 } } end
  return t
end

local function sum(t)
  local s = 0
  for i = 1, #t do s = s + t[i] end
  return s
end

local function sum_records(t)
  local s = 0
  for i = 1, #t do s = s + t[i].xs[2] end
  return s
end

local N <const> = 1000000
local items, pool = numbers(N), tm.thread_pool()

local function bench(what, unit, scale, count, f)
  local seconds, spread = time(f)
  report(what, seconds, spread, unit, scale, count)
end

print(("%d CPUs, %d workers, %d runs each"):format(
  require("tidemill.core").cpus().usable, #pool, RUNS))
bench("plain loop, 1e6 numbers", "ns/item", 1e9, N, function()
  local out = {}
  for i = 1, N do out[i] = identity(items[i]) end
  return out
end)
for _, each in ipairs { tm.FakePool(), pool } do
  local kind = tostring(each):match "tidemill (%w+)"
  bench(kind .. " map, 1e6 numbers, default chunks", "ns/item", 1e9, N,
    function() each:map(identity, items) end)
  bench(kind .. " map, 1e5 items, chunksize 1", "ns/item", 1e9, 1e5,
    function() each:map(identity, tm.range(100000), 1) end)
  bench(kind .. " apply, one after the other", "us", 1e6, 2000, function()
    for i = 1, 2000 do each:apply(identity, { i }) end
  end)
  bench(kind .. " apply_async, 1e4 at once", "us", 1e6, 1e4, function()
    local last
    for i = 1, 10000 do last = each:apply_async(identity, { i }) end
    last:get()
  end)
  bench(kind .. " apply, 1e6 floats in a table", "ms", 1e3, 1,
    function() each:apply(sum, { items }) end)
end
local list = records(100000)
bench("thread apply, 1e5 records", "ms", 1e3, 1, function()
  pool:apply(sum_records, { list })
end)
bench("new pool of 2 to its first result, and its end", "ms", 1e3, 20,
  function()
    for _ = 1, 20 do
      local own = tm.Pool { workers = 2 }
      own:apply(identity, { 1 })
      own:terminate()
      own:join()
    end
  end)
