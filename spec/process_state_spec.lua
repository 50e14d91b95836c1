-- What worker processes have of the script's: all that was there at the fork,
-- the store as it is, arrays as one memory; and pools within.

local tm = require "tidemill"
local child = require "spec.support.child"
local pools = require "spec.support.pools"
local processes = require "spec.support.processes"
local faults = require "spec.support.faults"

local io, ipairs, math, os, require, tostring =
  io, ipairs, math, os, require, tostring

local SMALL <const> = os.getenv "TIDEMILL_STRESS" == "small"

-- Also where specs spawn their processes: what is inherited is forked.
local FORK <const> = { start_method = "fork" }

local function square(x) return x * x end

-- Where every worker is spawned, this is left out, by name.
local forked = pools.start_method == "spawn" and pending or describe
local inherits = pools.start_method == "spawn" and pending or it

forked("a forked worker", function()
  it("inherits globals, modules and tables as they were", function()
    local loaded = require "spec.support.pools"
    loaded.inherited = { only = "here" }
    local globals = loaded.globals() -- busted keeps a spec from the real ones
    globals.tidemill_spec_global = 17
    local pool <close> = pools.new("process", FORK)
    loaded.inherited.only = "too late"
    local name = "tidemill_spec_global" -- not seen by what sends globals
    local only, value = pool:apply(function()
      local here = require "spec.support.pools"
      return here.inherited.only, here.globals()[name]
    end)
    assert.equal("here", only)
    assert.equal(17, value)
    loaded.inherited, globals.tidemill_spec_global = nil, nil
  end)

  it("reads what was stored before, a userdata too", function()
    local path = os.tmpname()
    local file <close> = io.open(path, "w+")
    file:write "stored"
    file:flush()
    local key = tm.glob_store(file)
    local pool <close> = pools.new("process", FORK)
    assert.equal("file", pool:apply(function()
      return io.type(tm.glob_read(key))
    end))
    local threads <close> = pools.new "thread"
    faults.of(threads.apply, threads, function() return tm.glob_read(key) end)
    tm.glob_remove(key)
    os.remove(path)
  end)

  it("leaves what a call left behind that could not be sent", function()
    local FAILED <const> = 20
    local first <close> = pools.new("process", FORK)
    local array = tm.array { 1, 2, 4 }
    for i = 1, FAILED do
      faults.kind("send", first.apply, first, square, { array, io.tmpfile() })
      faults.kind("send", first.map, first, square, { i, array, io.tmpfile() })
    end
    local pool <close> = pools.new("process", FORK)
    pool:map(pools.collect, tm.range(10), 1)
    pools.collect()
    local function texts(i) return ("x"):rep(i) end
    for i, text in ipairs(pool:map(texts, tm.range(500))) do
      assert.equal(i, #text)
    end
    assert.equal(7, array:sum())
    assert.equal(7, pool:apply(function() return array:sum() end))
  end)

  it("keeps what it changes to itself", function()
    pools.shared = { n = 1 }
    local pool <close> = pools.new("process",
      { workers = 1, start_method = "fork" })
    assert.equal(2, pool:apply(function()
      pools.shared.n = 2
      return pools.shared.n
    end))
    assert.equal(1, pools.shared.n)
    pools.shared = nil
  end)

  it("draws random numbers of its own", function()
    local pool <close> = pools.new("process", FORK)
    local random = math.random
    local draws = processes.each(pool, function()
      return random(math.maxinteger)
    end)
    assert.not_equal(draws[1], draws[2])
  end)
end)

describe("the store, for running worker processes,", function()
  local pool

  setup(function() pool = pools.new "process" end)
  teardown(function() pools.stop(pool) end)

  it("has what was stored and updated later", function()
    local key = tm.glob_store { 1, 2 }
    local function read() return tm.glob_read(key)[2] end
    assert.same({ 2, 2, n = 2 }, processes.each(pool, read))
    tm.glob_update(key, { 3, 4 })
    assert.same({ 4, 4, n = 2 }, processes.each(pool, read))
    tm.glob_remove(key)
    assert.match("removed", tostring(faults.of(pool.apply, pool, read)))
  end)

  it("takes an update from a worker, for all", function()
    local key = tm.glob_store { 1 }
    local updated = pools.signal()
    local both = pool:map(function(i)
      if i == 1 then
        tm.glob_update(key, { 99 })
        updated:increment()
      end
      pools.await(updated)
      return tm.glob_read(key)[1]
    end, { 1, 2 }, 1)
    assert.same({ 99, 99, n = 2 }, both)
    assert.equal(99, tm.glob_read(key)[1])
    tm.glob_remove(key)
  end)

  it("is not removed by who did not place it", function()
    local key = tm.glob_store { 5 }
    processes.each(pool, function() tm.glob_remove(key) end)
    assert.equal(5, tm.glob_read(key)[1])
    assert.equal(5, pool:apply(function() return tm.glob_read(key)[1] end))
    tm.glob_remove(key)
  end)

  it("takes objects from workers, which outlive them", function()
    local own <close> = pools.new("process",
      { workers = 1, max_tasks_per_child = 1 })
    local key = own:apply(function() return tm.glob_store { "kept" } end)
    own:apply(processes.pid)
    assert.equal("kept", tm.glob_read(key)[1])
    assert.equal("kept", pool:apply(function()
      return tm.glob_read(key)[1]
    end))
  end)

  it("has one count and one memory for all", function()
    local count, field = tm.Counter(1 << 40), tm.array("f64", { 100, 2 })
    pool:map(function(i)
      count:increment(i)
      field:set(i, 1, i)
      field[i]:view(2, 2):fill(-i)
    end, tm.range(100))
    assert.equal(5050, count:value())
    assert.equal(0, field:sum())
    assert.equal(100, field:get(100, 1))
    field:fill(3)
    assert.equal(600, pool:apply(function() return field:sum() end))
  end)

  it("has arrays that workers make", function()
    local made = pool:map(function(i)
      return tm.array("f64", 1000):fill(i)
    end, tm.range(4))
    for i = 1, 4 do assert.equal(1000 * i, made[i]:sum()) end
  end)

  it("knows tasks that were made later", function()
    local task = tm.task { name = "late", setup = function()
      pools.prepared = 7
    end, run = function(x) return pools.prepared * x end }
    assert.same({ 7, 14, n = 2 }, pool:map(task, { 1, 2 }, 1))
    assert.is_nil(pools.prepared)
  end)
end)

describe("memory", function()
  it("of an array is that of one, however many processes read it",
    function()
      if child.sanitized then return pending "a sanitizer has its own memory" end
      local bytes = (SMALL and 8 or 128) << 20
      local pool <close> = pools.new("process", { workers = 4 })
      local pids = processes.of(pool)
      pids[#pids + 1] = processes.pid()
      local before = processes.memory(pids)
      local field = tm.array("f64", bytes // 8):fill(1)
      local sums = processes.each(pool, function() return field:sum() end)
      for i = 1, 4 do assert.equal(bytes / 8, sums[i]) end
      local grown = processes.memory(pids) - before
      assert.is_true(grown > 0.9 * bytes and grown < 1.06 * bytes,
        ("%.2f of it"):format(grown / bytes))
    end)
end)

describe("in a worker process", function()
  it("the shared pool of processes is a fake one", function()
    local pool <close> = pools.new "process"
    assert.same({ "tidemill fake pool (1 worker, open)", 9 }, { pool:apply(
      function()
        local inner = tm.process_pool()
        return tostring(inner), inner:map(square, { 3 })[1]
      end) })
    assert.match("fake", pool:apply(function()
      return tostring(tm.process_pool(true))
    end))
  end)

  it("pools of threads are real ones", function()
    local pool <close> = pools.new "process"
    assert.same({ 14, 28, n = 2 }, pool:map(function(i)
      local threads <close> = tm.Pool { workers = 2 }
      local sum = 0
      for _, v in ipairs(threads:map(square, { 1, 2, 3 })) do
        sum = sum + v
      end
      return i * sum
    end, { 1, 2 }, 1))
  end)

  it("pools of the script's cannot be used", function()
    local pool <close> = pools.new "process"
    local threads <close> = pools.new "thread"
    pools.outer = threads
    local inheriting <close> = pools.new "process"
    local e = faults.kind("task", inheriting.apply, inheriting, function()
      return pools.outer:map(square, { 1 })
    end)
    assert.is_string(e.message)
    pools.outer = nil
    assert.equal(4, pool:apply(square, { 2 }))
  end)
end)

describe("process_pool", function()
  after_each(function() tm.process_pool():terminate() end)

  it("is one pool, until it is asked for anew", function()
    local pool = tm.process_pool()
    assert.equal(pool, tm.process_pool())
    assert.equal(pool, tm.process_pool(false))
    assert.equal(pool, tm.process_pool {})
    assert.not_equal(pool, tm.process_pool(true))
  end)

  inherits("that is new inherits today's state, and ends the one before",
    function()
      local function read() return pools.today end
      pools.today = "yesterday"
      local pids = processes.of(tm.process_pool())
      pools.today = "today"
      assert.equal("yesterday", tm.process_pool():apply(read))
      for _, new in ipairs { true, { new = true } } do
        local result = tm.process_pool():map_async(square, { 1, 2, 3 })
        local pool = tm.process_pool(new)
        assert.equal("today", pool:apply(read))
        assert.equal(9, result:get()[3])
        for _, pid in ipairs(pids) do
          assert.is_false(processes.alive(pid))
        end
        pids = processes.of(pool)
      end
      pools.today = nil
    end)

  it("refuses what it does not know", function()
    faults.at_line("bad argument #1 to 'process_pool' "
      .. "(boolean expected, got number)", function() tm.process_pool(1) end)
    faults.at_line("unknown option 'neu' (did you mean 'new'?)",
      function() tm.process_pool { neu = true } end)
    faults.at_line("option 'new' must be true or false (got 1)",
      function() tm.process_pool { new = 1 } end)
  end)

  it("is a fake one where parallelism is off", function()
    assert.match("fake", tm.no_parallel(function()
      return tostring(tm.process_pool(true))
    end))
  end)
end)

