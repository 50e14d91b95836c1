-- Worker processes that die: their item alone fails, by name, or is done
-- again; nothing else is lost, and the pool is as strong as before.

local tm = require "tidemill"
local core = require "tidemill.core"
local pools = require "spec.support.pools"
local processes = require "spec.support.processes"
local faults = require "spec.support.faults"
local child = require "spec.support.child"

local ipairs, os, setmetatable, tostring = ipairs, os, setmetatable, tostring

local DEATHS <const> = os.getenv "TIDEMILL_STRESS" == "small" and 12 or 60

-- Bytes: what a pool has for itself is lost with its process.
local SMALL_CHANGE <const> = 4096

local SIGNALS = child.sanitized and { "TERM", "USR1" }
  or { "SEGV", "ABRT", "BUS", "FPE", "TERM" }

local function square(x) return x * x end

describe("a worker process that dies", function()
  local pool

  before_each(function() pool = pools.new "process" end)
  after_each(function() pools.stop(pool) end)

  -- As strong as ever: all its workers are at work at once.
  local function check_strength()
    assert.equal(2, #pool)
    local pids = processes.of(pool)
    assert.not_equal(pids[1], pids[2])
    assert.equal(2, #processes.workers())
  end

  it("leaves nothing of the pools that it made", function()
    if pools.start_method == "spawn" then
      return pending "forked workers alone make process pools here"
    end
    local key = tm.glob_store { 1 }
    local function once(dies)
      local outer <close> = pools.new("process", { workers = 1 })
      local ok, e = pcall(outer.apply, outer, function()
        local inner, busy = pools.new "process", pools.signal()
        local kept = pools.globals()
        local numbers = tm.array("f64", 1000)
        kept.inner, kept.iterator = inner, { inner:imap(square, tm.range(9)) }
        kept.result = inner:map_async(function()
          pools.globals().own = { tm.glob_read(key), tm.array("f64", 1000) }
          busy:increment(numbers[1] == 0 and 1 or 2)
          while dies do end
        end, tm.range(8), { chunksize = 1 })
        pools.await(busy, 2)
        if dies then processes.die() end
        pools.stop(inner)
        kept.inner, kept.iterator, kept.result = nil, nil, nil
        pools.collect()
      end)
      assert.equal(dies and "worker_died", not ok and e.kind)
      pools.stop(outer)
    end
    local function left(dies)
      once(dies)
      pools.collect()
      return core.store_count(), core.arena_stats().used
    end
    left(false)
    local count, before = left(false)
    local after, used = left(true)
    assert.equal(count, after)
    assert.is_true(used - before < SMALL_CHANGE, used - before)
    tm.glob_remove(key)
  end)

  it("fails its item alone, and says of what", function()
    local e = faults.kind("worker_died", pool.map, pool, function(i)
      if i == 5 then processes.die() end
      return i * i
    end, tm.range(10), { name = "solve" })
    assert.equal(5, e.item)
    assert.equal("solve", e.task)
    assert.equal("the worker process was killed by SIGKILL", e.message)
    assert.equal("task 'solve', item 5: worker_died: " .. e.message,
      tostring(e))
    for i = 1, 4 do assert.equal(i * i, e.results[i]) end
    check_strength()
  end)

  for _, signal in ipairs(SIGNALS) do
    it("of SIG" .. signal .. " says so", function()
      local e = faults.kind("worker_died", pool.apply, pool, processes.die,
        { signal })
      assert.match("^the worker process was killed by SIG" .. signal,
        e.message)
      check_strength()
    end)
  end

  it("leaves every other result, in its place", function()
    local found = pool:map(function(i)
      if i % 7 == 3 then processes.die() end
      return i * i
    end, tm.range(20), { errors = "collect" })
    assert.same({ 3, 10, 17 }, found.errors)
    for i = 1, 20 do
      if i % 7 == 3 then
        assert.equal("worker_died", found[i].kind)
        assert.equal(i, found[i].item)
      else
        assert.equal(i * i, found[i])
      end
    end
  end)

  it("keeps what its chunk had done, and nothing is done twice", function()
    local ran = pools.signal()
    local found = pool:map(function(i)
      ran:increment()
      if i == 6 then processes.die() end
      return i
    end, tm.range(10), { chunksize = 10, errors = "collect" })
    assert.same({ 6 }, found.errors)
    for i = 1, 10 do assert.is_true(i == 6 or found[i] == i) end
    assert.equal(10, ran:value())
  end)

  it("is tried again, with retries", function()
    local tries = pools.signal()
    local found = pool:map(function(i)
      if i == 3 then
        tries:increment()
        if tries:value() < 3 then processes.die() end
      end
      return i * i
    end, tm.range(6), { retries = 2, chunksize = 6 })
    for i = 1, 6 do assert.equal(i * i, found[i]) end
    assert.equal(3, tries:value())
  end)

  it("is given up after them", function()
    local tries = pools.signal()
    local e = faults.kind("worker_died", pool.map, pool, function(i)
      tries:increment()
      if i == 1 then processes.die() end
      return i
    end, { 1 }, { retries = 2 })
    assert.equal(1, e.item)
    assert.equal(3, tries:value())
  end)

  it("is in callbacks and in results that are awaited", function()
    local calls = {}
    local result = pool:map_async(function(i)
      if i == 2 then processes.die() end
      return i
    end, { 1, 2, 3 }, {
      callback = function() calls[#calls + 1] = "done" end,
      error_callback = function(e) calls[#calls + 1] = e.kind end,
    })
    assert.is_true(result:wait())
    assert.is_false(result:successful())
    assert.same({ "worker_died" }, calls)
    faults.kind("worker_died", result.get, result)
  end)

  it("fails its item of imap, after those before it", function()
    local seen = {}
    local e = faults.kind("worker_died", function()
      for i, v in pool:imap(function(i)
        if i == 4 then processes.die() end
        return i * i
      end, tm.range(8)) do
        seen[i] = v
      end
    end)
    assert.equal(4, e.item)
    assert.same({ 1, 4, 9 }, seen)
    seen = {}
    for i, v in pool:imap_unordered(function(i)
      if i == 4 then processes.die() end
      return i * i
    end, tm.range(8), { errors = "collect" }) do
      seen[i] = v
    end
    for i = 1, 8 do
      if i ~= 4 then assert.equal(i * i, seen[i]) end
    end
    assert.equal("worker_died", seen[4].kind)
  end)

  it("may be followed by " .. DEATHS .. " more in one job", function()
    local found = pool:map(function(i)
      if i % 2 == 0 then processes.die() end
      return i
    end, tm.range(2 * DEATHS), { errors = "collect" })
    assert.equal(DEATHS, #found.errors)
    for i = 1, 2 * DEATHS, 2 do assert.equal(i, found[i]) end
    check_strength()
  end)

  it("costs nothing while it is idle", function()
    local pids = processes.of(pool)
    processes.signal("KILL", pids)
    processes.await_end(pids)
    for i = 1, 3 do assert.equal(i * i, pool:apply(square, { i })) end
    check_strength()
  end)

  it("is waited for: there are no zombies", function()
    local pids, ours = processes.of(pool), {}
    for _, pid in ipairs(pids) do ours[pid] = true end
    processes.signal("KILL", pids)
    pools.wait_until(function() -- spawned ones are replaced at once
      for _, worker in ipairs(processes.workers()) do
        if ours[worker.pid] then return false end
      end
      return true
    end, "the last zombie")
  end)

  it("may do so while its result is being written", function()
    local function large(i)
      local result = {}
      for k = 1, 1000 do result[k] = ("x"):rep(1000) .. k end
      if i == 2 then
        result[500] = setmetatable({}, {
          __tidemill_send = function() processes.die() end
        })
      end
      return result
    end
    local found = pool:map(large, { 1, 2, 3 },
      { errors = "collect", chunksize = 3 })
    assert.same({ 2 }, found.errors)
    assert.equal("worker_died", found[2].kind)
    for _, i in ipairs { 1, 3 } do
      assert.equal(("x"):rep(1000) .. 1000, found[i][1000])
    end
    check_strength()
  end)

  it("may do so while it reads its item", function()
    local deadly = setmetatable({}, {
      __tidemill_send = function() return processes.die end
    })
    local found = pool:map(function(x) return x end, { 1, deadly, 3 },
      { errors = "collect", chunksize = 3 })
    assert.same({ 2 }, found.errors)
    assert.equal("worker_died", found[2].kind)
    assert.equal(3, found[3])
  end)

  it("may do so in a task's setup", function()
    local deadly = tm.task { name = "deadly", setup = processes.die,
                             run = square }
    local e = faults.kind("worker_died", pool.apply, pool, deadly, { 3 })
    assert.equal("deadly", e.task)
    assert.equal(9, pool:apply(square, { 3 }))
  end)

  it("loses nothing of what it held", function()
    local count, counter = tm.Counter(1 << 40, "{}"), pools.signal()
    local key = tm.glob_store { 1, 2, 3 }
    local field = tm.array("f64", 1000)
    local function hold(i)
      local own = tm.array("f64", 100000)
      local view, kept = field:view(1, 10), tm.glob_read(key)
      counter:increment()
      if i % 3 == 0 then processes.die() end
      return own:sum() + view:sum() + #kept
    end
    processes.collect(pool)
    local entries, blocks = core.store_count(), core.arena_stats().blocks
    for _ = 1, 4 do
      local found = pool:map(hold, tm.range(9), { errors = "collect" })
      assert.same({ 3, 6, 9 }, found.errors)
    end
    pools.wait_until(function()
      processes.collect(pool)
      return core.store_count() <= entries and
        core.arena_stats().blocks <= blocks
    end, "what dead workers held")
    assert.equal(36, counter:value())
    assert.equal(0, count:value())
    tm.glob_remove(key)
  end)
end)

describe("a worker process that cannot start", function()
  it("is an error with its reason, not a loop", function()
    local births = pools.signal()
    local pool = pools.new("process", {
      initializer = function(signal)
        signal:increment()
        processes.die()
      end,
      initargs = { births },
    })
    local e = faults.kind("worker_died", pool.map, pool, square, { 1, 2 })
    assert.equal("workers die while they start: "
      .. "the worker process was killed by SIGKILL", e.message)
    local tried = births:value()
    faults.of(pool.map, pool, square, { 1, 2 })
    assert.equal(tried, births:value())
    pools.stop(pool)
  end)

  it("ends a loop over results with that error", function()
    local pool = pools.new("process", { initializer = processes.die })
    for _ = 1, 2 do
      faults.kind("worker_died", function()
        local seen = 0
        for _ in pool:imap(square, tm.range(50), { errors = "collect" }) do
          seen = seen + 1
        end
        return seen
      end)
    end
    pools.stop(pool)
  end)

  it("is tried again when it was an accident", function()
    local births = pools.signal()
    local pool = pools.new("process", {
      initializer = function(signal)
        signal:increment()
        if signal:value() <= 2 then processes.die() end
      end,
      initargs = { births },
    })
    assert.same({ 1, 4, n = 2 }, pool:map(square, { 1, 2 }))
    pools.stop(pool)
  end)
end)

local built, leave = pcall(tm.cfunction, nil, "void _exit(int)")

describe("a worker process that calls _exit", function()
  it("fails its item alone, with the status", function()
    if not built then
      pending("built without libffi")
      return
    end
    local pool = pools.new "process"
    for _, status in ipairs { 0, 7 } do
      local e = faults.kind("worker_died", pool.map, pool, function(i)
        if i == 2 then leave(status) end
        return i
      end, { 1, 2, 3 })
      assert.equal(2, e.item)
      assert.equal("the worker process ended with status " .. status,
        e.message)
    end
    assert.same({ 1, 4, n = 2 }, pool:map(square, { 1, 2 }))
    pools.stop(pool)
  end)
end)
