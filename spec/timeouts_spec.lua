-- Time limits, retries and cancelling: of Lua loops, of those that swallow
-- errors, of coroutines, and of C code that does not come back.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

local coroutine, os, pcall, setmetatable, xpcall =
  coroutine, os, pcall, setmetatable, xpcall
local error, ipairs, tostring = error, ipairs, tostring

local function loop() while true do end end -- luacheck: ignore
local function five() return 5 end

for _, kind in ipairs(pools.concurrent) do
  describe("a " .. kind .. " pool", function()
    local pool

    before_each(function() pool = pools.new(kind) end)
    after_each(function() pools.stop(pool) end)

    describe("with a timeout", function()
      it("fails an item that takes too long, and says so", function()
        local e = faults.kind("timeout", pool.map, pool, function(i)
          if i == 2 then loop() end
          return i
        end, { 1, 2, 3 }, { timeout = 0.05, name = "solve" })
        assert.equal(2, e.item)
        assert.equal("solve", e.task)
        assert.match("timed out after 0.05 s", e.message, 1, true)
        assert.equal(1, e.results[1])
        assert.equal(5, pool:apply(five))
      end)

      it("is for each item, inside a chunk too", function()
        local results = pool:map(function(i)
          if i == 3 then loop() end
          return i
        end, { 1, 2, 3, 4, 5 },
          { timeout = 0.05, chunksize = 5, errors = "collect" })
        assert.same({ 3 }, results.errors)
        assert.equal("timeout", results[3].kind)
        for _, i in ipairs { 1, 2, 4, 5 } do assert.equal(i, results[i]) end
      end)

      it("leaves alone what is in time", function()
        assert.same({ 5, 5, n = 2 },
          pool:map(five, { 1, 2 }, { timeout = pools.DEADLINE }))
      end)

      it("is for apply and imap too", function()
        faults.kind("timeout", pool.apply, pool, loop, nil,
          { timeout = 0.05 })
        local next_result = pool:imap(loop, { 1 }, { timeout = 0.05 })
        faults.kind("timeout", next_result)
      end)

      it("stops a loop that catches errors", function()
        faults.kind("timeout", pool.apply, pool, function()
          while true do pcall(loop) end
        end, nil, { timeout = 0.05 })
        faults.kind("timeout", pool.apply, pool, function()
          while true do xpcall(loop, function() return loop() end) end
        end, nil, { timeout = 0.05 })
        assert.equal(5, pool:apply(five))
      end)

      it("stops coroutines", function()
        faults.kind("timeout", pool.apply, pool, function()
          coroutine.wrap(loop)()
        end, nil, { timeout = 0.05 })
        faults.kind("timeout", pool.apply, pool, function()
          while true do
            coroutine.resume(coroutine.create(function()
              coroutine.resume(coroutine.create(loop))
            end))
          end
        end, nil, { timeout = 0.05 })
        faults.kind("timeout", pool.apply, pool, function()
          local ping = coroutine.wrap(function()
            while true do coroutine.yield() end
          end)
          while true do ping() end
        end, nil, { timeout = 0.05 })
      end)

      it("lets __close handlers run", function()
        local closed = pools.signal()
        faults.kind("timeout", pool.apply, pool, function()
          local _ <close> = setmetatable({}, {
            __close = function() closed:increment() end
          })
          loop()
        end, nil, { timeout = 0.05 })
        assert.equal(1, closed:value())
      end)

      it("abandons what is stuck in C, and goes on", function()
        local before = tm.clock()
        local e = faults.kind("timeout", pool.map, pool, function(i)
          if i == 1 then os.execute "sleep 5" end
          return i
        end, { 1, 2, 3, 4 }, { timeout = 0.1, errors = "raise" })
        assert.equal(1, e.item)
        assert.is_true(tm.clock() - before < 4)
        assert.same({ 5, 5, 5, 5, n = 4 }, pool:map(five, { 1, 2, 3, 4 }))
        assert.equal(2, #pool)
        pools.stop(pool)
        assert.is_true(tm.clock() - before < 4)
      end)

      it("abandons all of its workers when it must", function()
        local results = pool:map(function(i)
          if i <= 4 then os.execute "sleep 5" end
          return i
        end, { 1, 2, 3, 4, 5, 6 },
          { timeout = 0.1, chunksize = 1, errors = "collect" })
        assert.same({ 1, 2, 3, 4 }, results.errors)
        assert.equal(5, results[5])
        assert.equal(6, results[6])
      end)
    end)

    describe("with retries", function()
      it("tries an item again that was late", function()
        local tries = pools.signal()
        assert.same({ "late", n = 1 }, pool:map(function()
          tries:increment()
          if tries:value() < 3 then loop() end
          return "late"
        end, { 1 }, { timeout = 0.1, retries = 2 }))
        assert.equal(3, tries:value())
      end)

      it("gives up after them", function()
        local tries = pools.signal()
        faults.kind("timeout", pool.apply, pool, function()
          tries:increment()
          loop()
        end, nil, { timeout = 0.05, retries = 2 })
        assert.equal(3, tries:value())
      end)

      it("tries what was stuck in C again", function()
        local tries = pools.signal()
        assert.equal("done", pool:apply(function()
          tries:increment()
          if tries:value() == 1 then os.execute "sleep 5" end
          return "done"
        end, nil, { timeout = 0.2, retries = 1 }))
      end)

      it("does not repeat Lua errors", function()
        local tries = pools.signal()
        faults.kind("task", pool.apply, pool, function()
          tries:increment()
          error "bad"
        end, nil, { retries = 5 })
        assert.equal(1, tries:value())
      end)
    end)

    describe("cancelled", function()
      local started, more

      before_each(function() started, more = pools.signal(), pools.signal() end)

      local function run()
        started:increment()
        loop()
      end

      it("stops what runs, skips what waits, and says so", function()
        local result = pool:map_async(function()
          started:increment()
          more:increment()
          loop()
        end, { 1, 2, 3, 4, 5, 6 }, 1)
        pools.await(started, 2)
        assert.is_true(result:cancel())
        local e = faults.kind("cancelled", result.get, result)
        assert.match("cancelled", e.message)
        assert.equal(6, e.results.n)
        assert.equal(2, more:value())
        assert.is_true(result:ready())
        assert.is_false(result:successful())
        assert.is_false(result:cancel())
        assert.equal(5, pool:apply(five))
      end)

      it("keeps what was done", function()
        local result = pool:map_async(function(i)
          if i == 3 then run() end
          return i
        end, { 1, 2, 3 }, 1)
        pools.await(started)
        pools.wait_until(function() return not result:wait(0.01) end)
        result:cancel()
        local e = faults.kind("cancelled", result.get, result)
        assert.equal(1, e.results[1])
        assert.equal(2, e.results[2])
        assert.is_nil(e.results[3])
      end)

      it("calls error_callback, once", function()
        local calls = {}
        local result = pool:apply_async(run, nil, {
          callback = function() calls[#calls + 1] = "callback" end,
          error_callback = function(e) calls[#calls + 1] = e.kind end,
        })
        pools.await(started)
        result:cancel()
        result:wait()
        assert.same({ "cancelled" }, calls)
      end)

      it("does so before it has begun, too", function()
        local busy = pool:map_async(run, { 1, 2 }, 1)
        pools.await(started, 2)
        local result = pool:apply_async(function() more:increment() end)
        assert.is_true(result:cancel())
        faults.kind("cancelled", result.get, result)
        busy:cancel()
        faults.kind("cancelled", busy.get, busy)
        assert.equal(5, pool:apply(five))
        assert.equal(0, more:value())
      end)

      it("is too late when it is done", function()
        local result = pool:apply_async(five)
        result:wait()
        assert.is_false(result:cancel())
        assert.equal(5, result:get())
      end)

      it("at any moment, says so and keeps what is right", function()
        for _ = 1, 60 do
          local results = {}
          for k = 1, 10 do
            results[k] = pool:map_async(function(i) return { i } end,
              tm.range(50))
          end
          for k = 1, 10, 2 do results[k]:cancel() end
          for _, result in ipairs(results) do
            local ok, got = pcall(result.get, result)
            if not ok then
              assert.equal("cancelled", got.kind, tostring(got))
              got = got.results
            end
            for i = 1, 50 do
              assert.equal(i, got[i] == nil and not ok and i or got[i][1])
            end
          end
        end
      end)

      it("takes nested calls along", function()
        local result = pool:apply_async(function()
          return tm.thread_pool():map(run, { 1, 2 })
        end)
        pools.await(started)
        result:cancel()
        faults.kind("cancelled", result.get, result)
        assert.equal(5, pool:apply(five))
        assert.equal(5, tm.thread_pool():apply(five))
      end)
    end)
  end)
end
