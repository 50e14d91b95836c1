--- `make bench-programs`: whole programs in a plain loop, with each kind of
--- pool, and as kernels. Results are compared, times are medians of runs that
--- alternate.
---
---     tidemill bench/programs/run.lua [program...]

local measure = require "support.measure"
local stats = require "support.stats"
local tm = require "tidemill"

local NAMES = { "spectral_norm", "mandelbrot", "nqueens", "fannkuch" }
local OPTIONS = { timeout = 60 }

---@class programs.way a way to run a program
---@field name string
---@field run fun(n: integer): any

local function pool_of(kind)
  return tm.Pool { kind = kind, workers = measure.workers }
end

---@return programs.way[]
---@return table pools that are to be closed
local function ways_of(program)
  local ways, pools = { { name = "plain loop", run = program.plain } }, {}
  local function add(name, pool, options)
    pools[#pools + 1] = pool
    table.insert(ways, { name = name, run = function(n)
      return program.pooled(pool, n, options)
    end })
  end
  add("FakePool", tm.FakePool())
  add("threads", pool_of "thread")
  add("threads, timeout", pools[#pools], OPTIONS)
  local ok, processes = pcall(pool_of, "process")
  if ok then add("processes, timeout", processes, OPTIONS) end
  if program.kernel then
    table.insert(ways, { name = "kernel, 1 thread", run = function(n)
      return program.kernel(pools[1], n)
    end })
    table.insert(ways, { name = "kernel, threads", run = function(n)
      return program.kernel(pools[2], n)
    end })
  end
  return ways, pools
end

-- Every way runs in every round.
local function times_of(ways, n, check)
  local lists, rounds = {}, measure.size(7, 3)
  for i, way in ipairs(ways) do
    lists[i] = {}
    check(way, way.run(n))
  end
  for _ = 1, rounds do
    for i, way in ipairs(ways) do
      collectgarbage()
      local began = tm.clock()
      way.run(n)
      table.insert(lists[i], tm.clock() - began)
    end
  end
  return lists
end

local function check_known(program, ways)
  local known = program.known
  if not known then return end
  for _, way in ipairs(ways) do
    local result = way.run(known.size)
    if not program.same(result, known.result) then
      error(("%s: %s where %s is right"):format(way.name,
        program.show(result), program.show(known.result)), 0)
    end
  end
end

local function run(name)
  local program = require("programs." .. name)
  local n = measure.size(program.size, program.quick)
  local ways, pools = ways_of(program)
  local right = program.plain(n)
  check_known(program, ways)
  local lists = times_of(ways, n, function(way, result)
    if not program.same(result, right) then
      error(("%s: %s, but the plain loop has %s"):format(way.name,
        program.show(result), program.show(right)), 0)
    end
  end)
  print(("%s, n = %d: %s"):format(name, n, program.show(right)))
  local plain = stats.median(lists[1])
  for i, way in ipairs(ways) do
    local seconds, spread = stats.median(lists[i])
    print(("  %-20s %9.2f ms   spread %4.2f   %6.2f x the plain loop's speed")
      :format(way.name, seconds * 1e3, spread, plain / seconds))
  end
  for _, pool in ipairs(pools) do
    if tostring(pool):find "open" then
      pool:close()
      pool:join()
    end
  end
end

--- What a FakePool adds to items of 10 microseconds, in per cent of a plain
--- loop.
local function overhead()
  local function work(i)
    local x = i
    for _ = 1, 1200 do x = x * 0.999 + 0.001 end
    return x
  end
  local pool, ratios, each = tm.FakePool(), {}, nil
  for i = 1, measure.size(21, 7) do
    local began, out = tm.clock(), {}
    for k = 1, 2000 do out[k] = work(k) end
    local middle = tm.clock()
    pool:map(work, tm.range(#out))
    each = (middle - began) / 2000
    ratios[i] = (tm.clock() - middle) / (middle - began)
  end
  print(("FakePool over a plain loop at %.1f us an item: %+.1f %%"):format(
    each * 1e6, (stats.median(ratios) - 1) * 100))
end

io.stdout:setvbuf "line"
local chosen = #arg > 0 and arg or NAMES
for i = 1, #chosen do run(chosen[i]) end
overhead()
