-- Pools in workers: nothing waits for itself.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

local error, ipairs, os = error, ipairs, os

local function square(x) return x * x end

for _, kind in ipairs(pools.kinds) do
  describe("in a " .. kind .. " pool", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("a task may use the shared pool", function()
      local sums = pool:map(function(i)
        local sum = 0
        for _, v in ipairs(tm.thread_pool():map(function(x)
          return x * i
        end, { 1, 2, 3 })) do
          sum = sum + v
        end
        return sum
      end, tm.range(20), 1)
      for i = 1, 20 do assert.equal(6 * i, sums[i]) end
    end)

    it("a task may have a pool of its own", function()
      assert.same({ 5, 20, n = 2 }, pool:map(function(i)
        local own <close> = tm.Pool { workers = 2 }
        local list = own:map(function(x) return x * i * i end, { 1, 4 })
        return list[1] + list[2]
      end, { 1, 2 }, 1))
    end)

    it("a task may stream, run asynchronously and call back", function()
      local sum, called = pool:apply(function()
        local inner, total, calls = tm.thread_pool(), 0, 0
        for _, v in inner:imap(square, tm.range(10)) do total = total + v end
        for _, v in inner:imap_unordered(square, tm.range(10), 3) do
          total = total + v
        end
        local results = {}
        for i = 1, 5 do
          results[i] = inner:apply_async(square, { i }, {
            callback = function() calls = calls + 1 end
          })
        end
        for i = 5, 1, -1 do total = total + results[i]:get() end
        return total, calls
      end)
      assert.equal(385 + 385 + 55, sum)
      assert.equal(5, called)
    end)
  end)
end

for _, kind in ipairs(pools.concurrent) do
  describe("in the shared " .. kind .. " pool", function()
    local shared = tm[kind .. "_pool"]

    it("tasks may nest deeper than there are workers", function()
      local function deep(level)
        if level == 0 then return 1 end
        local list = shared():map(deep, { level - 1, level - 1 }, 1)
        return list[1] + list[2]
      end
      assert.equal(64, shared():apply(deep, { 6 }))
    end)

    it("all workers may wait for nested calls at once", function()
      for _ = 1, 10 do
        local list = shared():map(function(i)
          return shared():map(function(x) return x + i end, { 1, 2, 3 }, 1)[3]
        end, tm.range(16), 1)
        for i = 1, 16 do assert.equal(3 + i, list[i]) end
      end
    end)

    it("a nested error comes out with its own item", function()
      local e = faults.kind("task", function()
        shared():map(function(i)
          shared():map(function(x)
            if i == 2 and x == 3 then error("inner", 0) end
          end, { 1, 2, 3 })
        end, { 1, 2 })
      end)
      assert.equal(2, e.item)
      assert.equal(3, e.value.item)
      assert.equal("inner", e.value.value)
    end)

    it("a nested call has globals of its own", function()
      assert.same({ 10, 20, n = 2 }, shared():map(function(i)
        local factor = i * 10
        local list = shared():map(function() return factor end, { 1, 2 })
        return list[1]
      end, { 1, 2 }))
    end)

    -- In a process, the shared pool of processes is a fake one.
    local it_of_threads = kind == "thread" and it or function() end
    it_of_threads("a worker may not join the pool that it serves", function()
      local pool = shared()
      local e = faults.kind("task", pool.apply, pool, function()
        local own = shared()
        own:close()
        own:join()
      end)
      assert.match("a worker cannot join its own pool", e.message, 1, true)
      pool:join()
      assert.equal(4, shared():apply(square, { 2 }))
    end)
  end)
end

describe("a pool that a worker process keeps", function()
  it("works when the task that made it was given up", function()
    if pools.start_method == "spawn" then
      return pending("forked workers alone make process pools here")
    end
    local pool <close> = pools.new("process", { workers = 1 })
    local ready = pools.signal()
    local making = pool:apply_async(function()
      local kept = pools.new("process", { workers = 1 })
      pools.globals().kept_pool = kept
      ready:increment(kept:apply(square, { 1 }))
      while true do end
    end)
    pools.await(ready)
    making:cancel()
    faults.kind("cancelled", making.get, making)
    assert.equal(49, pool:apply(function()
      local kept = pools.globals().kept_pool
      local x = kept:apply(square, { 7 }, { timeout = pools.DEADLINE })
      kept:terminate()
      kept:join()
      return x
    end))
  end)
end)

describe("a worker that waits for another pool", function()
  it("begins nothing else meanwhile", function()
    local pool <close> = pools.new("thread", { workers = 1 })
    local begun = pools.signal()
    assert.same({ 1, 2, n = 2 }, pool:map(function()
      begun:increment()
      return tm.thread_pool():apply(function()
        os.execute "sleep 0.2" -- it has time to do what it should not
        return begun:value()
      end)
    end, { 1, 2 }, 1))
  end)
end)
