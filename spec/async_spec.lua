-- Results that come later: get, wait, ready, successful, and callbacks, which
-- run once, on the script's own thread, before a wait returns.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

local error, tostring = error, tostring

local function square(x) return x * x end
local function fail(x) error(x, 0) end

for _, kind in ipairs(pools.kinds) do
  describe("an async result of a " .. kind .. " pool", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("is had by get, as often as one likes", function()
      local result = pool:map_async(square, { 1, 2, 3 })
      local list = result:get()
      assert.same({ 1, 4, 9, n = 3 }, list)
      assert.equal(list, result:get())
      local apply = pool:apply_async(function(a, b) return b, nil, a end,
        { 1, 2 })
      assert.same({ 2, nil, 1, n = 3 }, table.pack(apply:get()))
      assert.same({ 2, nil, 1, n = 3 }, table.pack(apply:get(0)))
      assert.same({ 3, 8, n = 2 }, pool:starmap_async(function(a, b)
        return a * b
      end, { { 1, 3 }, { 2, 4 } }):get())
    end)

    it("is ready and successful, or not", function()
      local good, bad = pool:apply_async(square, { 2 }),
        pool:apply_async(fail, { "bad" })
      assert.is_true(good:wait())
      assert.is_true(bad:wait(60))
      assert.is_true(good:ready() and bad:ready())
      assert.is_true(good:successful())
      assert.is_false(bad:successful())
    end)

    it("raises its error at each get", function()
      local result = pool:apply_async(fail, { "bad" })
      local e = faults.kind("task", result.get, result)
      assert.equal("bad", e.value)
      assert.equal(e, faults.of(result.get, result))
    end)

    it("may be had in any order", function()
      local results = {}
      for i = 1, 100 do results[i] = pool:apply_async(square, { i }) end
      for i = 100, 1, -1 do assert.equal(i * i, results[i]:get()) end
    end)

    it("says what it is", function()
      local result = pool:apply_async(square, { 2 })
      result:wait()
      assert.equal("tidemill.result (done)", tostring(result))
    end)

    it("is done whether somebody keeps it or not", function()
      local ran = pools.signal()
      pool:apply_async(function() ran:increment() end)
      pools.collect()
      pools.await(ran)
    end)

    describe("has a callback that", function()
      it("gets the results, once, before wait or get returns", function()
        local calls = {}
        local options = {
          callback = function(x) calls[#calls + 1] = x end,
          error_callback = function() calls[#calls + 1] = "error" end,
        }
        local result = pool:map_async(square, { 3 }, options)
        result:wait()
        assert.same({ { 9, n = 1 } }, calls)
        result:wait()
        result:get()
        tm.poll()
        assert.equal(1, #calls)
        assert.equal(calls[1], result:get())
        pool:map_async(square, { 4 }, options):get()
        assert.same({ 16, n = 1 }, calls[2])
      end)

      it("gets the error object, when it is an error_callback", function()
        local calls = {}
        local result = pool:map_async(fail, { "bad" }, {
          callback = function() calls[#calls + 1] = "callback" end,
          error_callback = function(e) calls[#calls + 1] = e end,
        })
        result:wait()
        assert.equal(1, #calls)
        assert.equal("bad", calls[1].value)
        assert.equal(calls[1], faults.of(result.get, result))
        assert.equal(1, #calls)
      end)

      it("gets all values of apply", function()
        local got
        pool:apply_async(function() return 1, nil, 3, nil end, nil, {
          callback = function(...) got = table.pack(...) end
        }):wait()
        assert.same({ 1, nil, 3, nil, n = 4 }, got)
      end)

      it("is called by map and apply themselves", function()
        local sum = 0
        local options = { callback = function(x)
          sum = sum + (type(x) == "table" and x[1] or x)
        end }
        pool:map(square, { 2 }, options)
        pool:apply(square, { 3 }, options)
        pool:starmap(square, { { 4 } }, options)
        assert.equal(29, sum)
      end)

      it("is called for an empty input", function()
        local got
        pool:map_async(square, {}, { callback = function(x) got = x end })
          :wait()
        assert.same({ n = 0 }, got)
      end)

      it("runs on the script's own thread, in its own state", function()
        local thread, here = coroutine.running(), {}
        local seen
        pool:map(square, { 1 }, { callback = function()
          seen = { coroutine.running(), here }
        end })
        assert.equal(thread, seen[1])
        assert.equal(here, seen[2])
      end)

      it("may use the pool", function()
        local nested
        pool:map_async(square, { 2 }, { callback = function(list)
          nested = pool:map(square, list)
        end }):wait()
        assert.same({ 16, n = 1 }, nested)
      end)

      it("raises out of its own job's get or wait, once", function()
        local fault = {}
        local options = { callback = function() error(fault) end }
        for _, method in ipairs { "get", "wait" } do
          local result = pool:map_async(square, { 3 }, options)
          assert.equal(fault, faults.of(result[method], result))
          assert.same({ 9, n = 1 }, result:get())
        end
      end)

      it("is raiser: the error as it is", function()
        local result = pool:apply_async(fail, { "bad" },
          { error_callback = tm.raiser })
        local e = faults.kind("task", result.wait, result)
        assert.equal("bad", e.value)
        assert.equal(e, faults.of(result.get, result))
      end)

      it("raises out of poll, when nobody waits for its job", function()
        local fault = {}
        local result = pool:apply_async(square, { 3 },
          { callback = function() error(fault) end })
        pools.wait_until(function() return result:ready() end)
        assert.equal(fault, faults.of(tm.poll))
        assert.equal(0, tm.poll())
        assert.equal(9, result:get())
      end)

      it("does not raise out of another job's wait", function()
        local fault = {}
        local first = pool:apply_async(square, { 3 },
          { callback = function() error(fault) end })
        pools.wait_until(function() return first:ready() end)
        assert.equal(4, pool:apply_async(square, { 2 }):get())
        assert.is_true(pool:apply_async(square, { 2 }):wait())
        assert.equal(fault, faults.of(first.get, first))
      end)

      it("raises out of join", function()
        local own, fault = pools.new(kind), {}
        own:apply_async(square, { 3 },
          { callback = function() error(fault) end })
        own:close()
        assert.equal(fault, faults.of(own.join, own))
        own:join()
      end)

      it("runs in poll, which counts", function()
        local calls = 0
        local options = { callback = function() calls = calls + 1 end }
        local results = {}
        for i = 1, 3 do
          results[i] = pool:apply_async(square, { i }, options)
        end
        local count = 0
        pools.wait_until(function()
          count = count + tm.poll()
          return calls == 3
        end)
        assert.equal(3, count)
        assert.equal(0, tm.poll())
        for i = 1, 3 do assert.equal(i * i, results[i]:get()) end
        assert.equal(3, calls)
      end)

      it("runs when nobody keeps the result", function()
        local called = 0
        pool:apply_async(square, { 2 }, { callback = function(x)
          called = x
        end })
        pools.collect()
        pools.wait_until(function()
          tm.poll()
          return called == 4
        end)
      end)

      it("has run for each job when join returns", function()
        local own, calls = pools.new(kind), 0
        for i = 1, 20 do
          own:apply_async(square, { i }, { callback = function()
            calls = calls + 1
          end })
        end
        own:close()
        own:join()
        assert.equal(20, calls)
      end)

      it("never runs by itself, beside the script", function()
        local called = false
        local result = pool:apply_async(square, { 2 },
          { callback = function() called = true end })
        pools.wait_until(function() return result:ready() end)
        assert.is_false(called)
        result:wait(0)
        assert.is_true(called)
      end)
    end)
  end)
end

for _, kind in ipairs(pools.concurrent) do
  describe("an async result of a busy " .. kind .. " pool", function()
    local pool, go, result

    before_each(function()
      pool = pools.new(kind)
      go = pools.signal()
      local gate = go
      result = pool:apply_async(function()
        pools.await(gate)
        return "done"
      end)
    end)

    after_each(function()
      go:increment()
      pools.stop(pool)
    end)

    it("is not ready, and get and wait keep their times", function()
      assert.is_false(result:ready())
      assert.is_false(result:wait(0.01))
      local before = tm.clock()
      local e = faults.kind("timeout", result.get, result, 0.1)
      assert.is_true(tm.clock() - before >= 0.1)
      assert.match("0.1 s", e.message, 1, true)
      faults.kind("timeout", result.get, result, 0)
      assert.equal("tidemill.result (running)", tostring(result))
      go:increment()
      assert.equal("done", result:get(60))
    end)

    it("is neither successful nor not", function()
      faults.at_line("successful: the job is not done yet",
        function() result:successful() end)
    end)

    it("lets others be done", function()
      assert.equal(9, pool:apply(square, { 3 }))
      assert.is_false(result:ready())
    end)

    it("does not call back before it is done", function()
      local called = false
      local second = pool:apply_async(function() pools.await(go) end, nil,
        { callback = function() called = true end })
      second:wait(0.01)
      tm.poll()
      assert.is_false(called)
      go:increment()
      second:wait()
      assert.is_true(called)
    end)
  end)
end
