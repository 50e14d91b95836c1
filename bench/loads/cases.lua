--- One load of `make bench-loads`, in a process of its own: prints what
--- happened as "name<tab>value" lines, times in seconds and memory in bytes.
---
---     tidemill bench/loads/cases.lua CASE KIND N

local kernels = require "support.kernels"
local measure = require "support.measure"
local memory = require "support.memory"
local stats = require "support.stats"
local tm = require "tidemill"

local case, kind, n = arg[1], arg[2], math.tointeger(tonumber(arg[3]))

local function open(workers)
  return tm.Pool { kind = kind, workers = workers or
                   (kind ~= "fake" and measure.workers or nil) }
end

local function say(name, value) print(("%s\t%.9g"):format(name, value)) end

local function add_one(x) return x + 1 end

local function burn(steps)
  local x = 1.0
  for _ = 1, steps do x = x * 0.999 + 0.001 end
  return x
end

local cases = {}

-- ---- many -------------------------------------------------------------------

function cases.tiny(pool)
  assert(pool:map(add_one, tm.range(n))[n] == n + 1)
end

function cases.one_by_one(pool)
  assert(pool:map(add_one, tm.range(n), 1)[n] == n + 1)
end

function cases.small_maps(pool)
  for i = 1, n do assert(pool:map(add_one, { i, 2, 3, 4 })[1] == i + 1) end
end

function cases.async(pool)
  local results = {}
  for i = 1, n do results[i] = pool:apply_async(add_one, { i }) end
  for i = 1, n do assert(results[i]:get() == i + 1) end
end

function cases.async_callback(pool)
  local count, last = 0, nil
  local options = { callback = function() count = count + 1 end }
  for i = 1, n do last = pool:apply_async(add_one, { i }, options) end
  last:get()
  pool:close()
  pool:join()
  assert(count == n)
end

function cases.async_maps(pool)
  local results = {}
  for i = 1, n do results[i] = pool:map_async(add_one, { i, 2 }) end
  for i = 1, n do assert(results[i]:get()[1] == i + 1) end
end

function cases.imap(pool)
  local count = 0
  for i, v in pool:imap(add_one, tm.range(n)) do
    assert(v == i + 1)
    count = count + 1
  end
  assert(count == n)
end

function cases.imap_unordered(pool)
  local sum = 0
  for i in pool:imap_unordered(add_one, tm.range(n), 100) do sum = sum + i end
  assert(sum == n * (n + 1) // 2)
end

function cases.failures(pool)
  local function fail(i) error("no " .. i, 0) end
  assert(#pool:map(fail, tm.range(n), { errors = "collect" }).errors == n)
end

function cases.strings(pool)
  local items = {}
  for i = 1, n do items[i] = ("%99d"):format(i) .. "." end
  assert(pool:map(function(s) return s .. "!" end, items)[n] == items[n] .. "!")
end

function cases.tables(pool)
  local results = pool:map(function(i) return { id = i, xs = { i, i } } end,
    tm.range(n))
  assert(results[n].xs[2] == n)
end

function cases.store(pool)
  local key = tm.glob_store { 0 }
  for i = 1, n do
    tm.glob_update(key, { i })
    assert(pool:apply(function() return tm.glob_read(key)[1] end) == i)
  end
end

-- Beside another process that computes.
function cases.busy_cpu(pool)
  local other = assert(io.popen "echo $$; while :; do :; done")
  local pid = other:read "n"
  for i = 1, n do assert(pool:apply(add_one, { i }) == i + 1) end
  os.execute("kill -KILL " .. pid)
  other:close()
end

-- ---- large, uneven, nested --------------------------------------------------

-- 16 MB each, there and back.
function cases.huge(pool)
  local items = {}
  for i = 1, n do items[i] = ("%d"):format(i % 10):rep(16 * 10 ^ 6 // 1 | 0) end
  local results = pool:map(function(s) return s:upper() end, items)
  assert(results[n] == items[n])
end

-- Over a plain loop: the median of a few pairs.
local function speedup(pool, items)
  local ratios = {}
  for k = 1, 5 do
    local began = tm.clock()
    for i = 1, #items do burn(items[i]) end
    local middle = tm.clock()
    pool:map(burn, items)
    ratios[k] = (middle - began) / (tm.clock() - middle)
  end
  say("speedup", (stats.median(ratios)))
end

-- Every hundredth item takes ten thousand times as long as the others.
function cases.mixed(pool)
  local items = {}
  for i = 1, n do items[i] = i % 100 == 37 and 200000 or 20 end
  speedup(pool, items)
end

-- A few long items at the end of many short ones.
function cases.long_tail(pool)
  local items = {}
  for i = 1, n do items[i] = i > n - 4 and 5 * n or 20 end
  speedup(pool, items)
end

function cases.nested(pool)
  local function inner(i)
    local sum = 0
    for _, v in ipairs(require "tidemill".thread_pool():map(
      function(x) return x * 2 end, { i, i + 1, i + 2 })) do
      sum = sum + v
    end
    return sum
  end
  assert(pool:map(inner, tm.range(n))[n] == 6 * n + 6)
end

function cases.pools()
  for i = 1, n do
    local pool <close> = open(2)
    assert(pool:apply(add_one, { i }) == i + 1)
  end
end

-- ---- what it takes ----------------------------------------------------------

-- Workers that wait, so that the queue is full.
local function hold(pool, gate)
  local nap = kernels.nap
  local result = pool:apply_async(function()
    while gate[1] == 0 do nap(1) end
  end)
  return function()
    gate[1] = 1
    result:get()
  end
end

-- Bytes of memory that f's objects take.
local function taken(f)
  collectgarbage()
  collectgarbage()
  local before = memory.family()
  local kept = f()
  local after = memory.family()
  return after - before, kept
end

function cases.queued_calls()
  local pool <close> = open(1)
  pool:apply(add_one, { 1 })
  local release = hold(pool, tm.array("i64", 1))
  local bytes, results = taken(function()
    local list = {}
    for i = 1, n do list[i] = pool:apply_async(add_one, { i }) end
    return list
  end)
  say("bytes", bytes / n)
  release()
  results[n]:get()
end

local function queued_map(items)
  local pool <close> = open(1)
  pool:apply(add_one, { 1 })
  local release = hold(pool, tm.array("i64", 1))
  local bytes, result = taken(function()
    return pool:map_async(add_one, items)
  end)
  say("bytes", bytes / n)
  release()
  result:get()
end

function cases.queued_range() queued_map(tm.range(n)) end

function cases.queued_numbers()
  local items = {}
  for i = 1, n do items[i] = i + 0.5 end
  queued_map(items)
end

-- Memory of n more workers that have all run f.
local function workers(f)
  local one <close> = open(1)
  one:map(f, tm.range(4), 1)
  local bytes, pool = taken(function()
    local pool = open(n)
    pool:map(f, tm.range(20 * n), 1)
    return pool
  end)
  say("bytes", bytes / n)
  pool:terminate()
  pool:join()
end

function cases.worker()
  workers(function() return burn(50000) end)
end

-- Its task names the module, which the worker loads then.
function cases.module_worker()
  workers(function() return tm.clock() + burn(50000) end)
end

function cases.pool()
  local function make()
    local pool = open(1)
    pool:apply(add_one, { 1 })
    return pool
  end
  local one <close> = make() -- luacheck: ignore one
  local bytes, pools = taken(function()
    local list = {}
    for i = 1, n do list[i] = make() end
    return list
  end)
  say("bytes", bytes / n)
  for _, pool in ipairs(pools) do
    pool:terminate()
    pool:join()
  end
end

local MAKE_THEIR_OWN = { pools = true, queued_calls = true, worker = true,
                         queued_range = true, queued_numbers = true,
                         module_worker = true, pool = true }

local function main()
  local resident = memory.resident()
  memory.reset()
  local began
  if MAKE_THEIR_OWN[case] then
    began = tm.clock()
    cases[case]()
  else
    local pool = open()
    pool:apply(add_one, { 1 })
    began = tm.clock()
    cases[case](pool)
    pool:close()
    pool:join()
  end
  say("seconds", tm.clock() - began)
  say("peak", memory.peak() - resident)
end

assert(cases[case], "no such case")
main()
