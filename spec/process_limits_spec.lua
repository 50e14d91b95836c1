-- Limits of worker processes: how many items one serves, how long an item
-- takes, how much memory a task leaves behind.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local processes = require "spec.support.processes"
local faults = require "spec.support.faults"

local ipairs, os, pcall = ipairs, os, pcall

local function square(x) return x * x end
local function loop() while true do end end -- luacheck: ignore

-- How many different values there are in a list.
local function distinct(list)
  local seen, n = {}, 0
  for _, value in ipairs(list) do
    if not seen[value] then seen[value], n = true, n + 1 end
  end
  return n
end

describe("max_tasks_per_child", function()
  it("gives items to a fresh process after so many", function()
    local pool <close> = pools.new("process",
      { workers = 1, max_tasks_per_child = 5 })
    local pids = pool:map(processes.pid, tm.range(20), 1)
    assert.equal(4, distinct(pids))
    for i = 1, 16, 5 do
      for k = i + 1, i + 4 do assert.equal(pids[i], pids[k]) end
    end
  end)

  it("ends each on its own account: nothing fails", function()
    local pool <close> = pools.new("process", { max_tasks_per_child = 1 })
    local found = pool:map(square, tm.range(40))
    for i = 1, 40 do assert.equal(i * i, found[i]) end
    assert.equal(2, distinct(processes.of(pool)))
  end)

  it("is for calls and streams, too", function()
    local pool <close> = pools.new("process",
      { workers = 1, max_tasks_per_child = 2 })
    local pids = {}
    for i = 1, 6 do pids[i] = pool:apply(processes.pid) end
    for _, pid in pool:imap(processes.pid, tm.range(6)) do
      pids[#pids + 1] = pid
    end
    assert.equal(6, distinct(pids))
  end)

  it("is as good as none when it is never met", function()
    local pool <close> = pools.new("process",
      { workers = 1, max_tasks_per_child = 1000 })
    assert.equal(1, distinct(pool:map(processes.pid, tm.range(20))))
  end)
end)

describe("a time limit of an item in a process", function()
  local pool

  before_each(function()
    pool = pools.new("process", { workers = 1 })
  end)
  after_each(function() pools.stop(pool) end)

  it("stops a Lua loop, and the process goes on", function()
    local pid = pool:apply(processes.pid)
    local e = faults.kind("timeout", pool.map, pool, function(i)
      if i == 2 then loop() end
      return i
    end, { 1, 2, 3 }, { timeout = 0.05, name = "solve" })
    assert.equal(2, e.item)
    assert.equal("solve", e.task)
    assert.match("timed out after 0.05 s", e.message, 1, true)
    assert.equal(pid, pool:apply(processes.pid))
  end)

  it("ends a process that is stuck in C, and fails its item alone",
    function()
      local pid = pool:apply(processes.pid)
      local found = pool:map(function(i)
        if i == 2 then os.execute "sleep 20" end
        return i
      end, tm.range(4), { timeout = 0.1, errors = "collect" })
      assert.same({ 2 }, found.errors)
      assert.equal("timeout", found[2].kind)
      assert.equal("did not return from C code in time; "
        .. "its process was killed", found[2].message)
      for _, i in ipairs { 1, 3, 4 } do assert.equal(i, found[i]) end
      assert.not_equal(pid, pool:apply(processes.pid))
      assert.is_false(processes.alive(pid))
    end)

  it("is retried in the new process", function()
    local tries = pools.signal()
    local first = pool:apply(processes.pid)
    local second = pool:apply(function()
      tries:increment()
      if tries:value() == 1 then os.execute "sleep 20" end
      return processes.pid()
    end, nil, { timeout = 0.2, retries = 1 })
    assert.equal(2, tries:value())
    assert.not_equal(first, second)
  end)
end)

-- Who can make a process deaf.
local built, ignore = pcall(tm.cfunction, nil, "int sigignore(int)")
local SIGTERM <const> = 15

describe("a process that is stuck in C and ignores SIGTERM", function()
  if not built then
    it("needs libffi to be tested", function() pending "no libffi" end)
    return
  end

  local function deaf()
    ignore(SIGTERM)
    os.execute "sleep 20"
  end

  it("is killed when its item is late", function()
    local before = tm.clock()
    local pool <close> = pools.new("process", { workers = 1 })
    faults.kind("timeout", pool.apply, pool, deaf, nil, { timeout = 0.1 })
    assert.equal(9, pool:apply(square, { 3 }))
    assert.is_true(tm.clock() - before < 15)
  end)

  it("is killed when its pool is terminated", function()
    local before = tm.clock()
    local pool, started = pools.new("process", { workers = 1 }),
      pools.signal()
    local result = pool:apply_async(function()
      started:increment()
      deaf()
    end)
    pools.await(started)
    pools.stop(pool)
    faults.kind("cancelled", result.get, result)
    assert.equal(0, #processes.workers())
    assert.is_true(tm.clock() - before < 15)
  end)
end)

describe("max_memory_per_child", function()
  it("replaces a process after a task that leaves it above", function()
    local hoard = {}
    local grow = tm.task("grow", function(bytes)
      hoard[#hoard + 1] = ("x"):rep(bytes)
      return processes.pid()
    end)
    local pool <close> = pools.new("process",
      { workers = 1, max_memory_per_child = 64 << 20 })
    local small = pool:map(grow, { 1000, 1000, 1000 }, 1)
    assert.equal(1, distinct(small))
    local large = pool:map(grow, { 100 << 20, 1000, 1000 }, 1)
    assert.equal(small[1], large[1])
    assert.equal(2, distinct(large))
    assert.equal(large[2], large[3])
  end)

  it("does not count what the script has itself", function()
    local _ = ("x"):rep(100 << 20)
    local pool <close> = pools.new("process",
      { workers = 1, max_memory_per_child = 64 << 20 })
    assert.equal(1, distinct(pool:map(processes.pid, { 1, 2, 3 }, 1)))
  end)
end)
