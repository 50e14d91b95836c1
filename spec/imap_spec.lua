-- imap and imap_unordered: results while the map runs, in the order promised,
-- a bounded read-ahead, and a loop that may be left.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

local error, ipairs, math, table = error, ipairs, math, table
local METHODS = { "imap", "imap_unordered" }

local function square(x) return x * x end

local function numbers(n)
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end

-- All that a stream gives: results by item number, item numbers as they came.
local function drain(next_result, state, first, stream)
  local results, order = {}, {}
  for i, v in next_result, state, first, stream do
    assert.is_nil(results[i])
    results[i] = v
    order[#order + 1] = i
  end
  return results, order
end

local function endless()
  local i = 0
  return function()
    i = i + 1
    return i
  end
end

for _, kind in ipairs(pools.kinds) do
  describe("a " .. kind .. " pool's", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    describe("imap", function()
      it("gives item numbers and results in item order", function()
        for _, case in ipairs { { 10 }, { 1000, 100 }, { 100, 7 }, { 3, 9 } } do
          local results, order = drain(
            pool:imap(square, numbers(case[1]), { chunksize = case[2] }))
          assert.same(numbers(case[1]), order)
          for i = 1, case[1] do assert.equal(i * i, results[i]) end
        end
      end)

      it("may be called by hand, and ends with nil, again and again",
        function()
          local next_result = pool:imap(square, { 1, 2 })
          assert.same({ 1, 1 }, { next_result() })
          assert.same({ 2, 4 }, { next_result() })
          assert.is_nil(next_result())
          assert.is_nil(next_result())
        end)

      it("raises an item's error in its place, and ends there", function()
        local next_result = pool:imap(function(i)
          if i == 3 then error("third", 0) end
          return i
        end, numbers(5))
        assert.equal(1, (next_result()))
        assert.equal(2, (next_result()))
        local e = faults.kind("task", next_result)
        assert.equal(3, e.item)
        assert.equal("third", e.value)
      end)
    end)

    describe("imap_unordered", function()
      it("says which item each result is of", function()
        for _, case in ipairs { { 10 }, { 1000, 100 }, { 100, 7 } } do
          local results, order = drain(pool:imap_unordered(square,
            numbers(case[1]), { chunksize = case[2] }))
          table.sort(order)
          assert.same(numbers(case[1]), order)
          for i = 1, case[1] do assert.equal(i * i, results[i]) end
        end
      end)
    end)

    for _, method in ipairs(METHODS) do
      describe(method, function()
        local function stream(...) return pool[method](pool, ...) end

        it("goes on after a nil result", function()
          local count = 0
          for i, v in stream(function() end, numbers(5)) do
            count = count + 1
            assert.is_true(i >= 1 and i <= 5)
            assert.is_nil(v)
          end
          assert.equal(5, count)
        end)

        it("takes a number as chunksize, ranges, n and iterators", function()
          local results, order = drain(stream(square, tm.range(2, 8, 2), 3))
          assert.same({ 4, 16, 36, 64 }, results)
          assert.equal(4, #order)
          results = drain(stream(square, ("3 4"):gmatch("%d")))
          assert.same({ 9, 16 }, results)
          local _, four = drain(stream(function(x) return x end,
            { 1, nil, n = 4 }))
          assert.equal(4, #four)
        end)

        it("raises the iterator's error after the results before it",
          function()
            local fault = { "fault" }
            for _ = 1, 2 do
              local nothing = stream(square, pools.throwing(1, 1, fault), 1)
              assert.equal(fault, faults.of(nothing))
            end
            for _, case in ipairs { { 10, 4, 1 }, { 20, 8, 2 }, { 20, 8, 4 },
                                    { 20, 8, 100 } } do
              local next_result = stream(square,
                pools.throwing(case[1], case[2], fault), case[3])
              local sum = 0
              for _ = 1, case[2] - 1 do
                local i, v = next_result()
                assert.equal(i * i, v)
                sum = sum + i
              end
              assert.equal(case[2] * (case[2] - 1) // 2, sum)
              assert.equal(fault, faults.of(next_result))
              assert.is_nil(next_result())
            end
          end)

        it("takes an endless iterator, and reads no further than it says",
          function()
            for _, chunksize in ipairs { 1, 3 } do
              local taken, furthest = 0, 0
              local ahead = 4 * #pool * chunksize
              local numbered = endless()
              for i in stream(square, function()
                furthest = numbered()
                assert(furthest <= taken + ahead)
                return furthest
              end, chunksize) do
                taken = taken + 1
                assert.is_true(i <= furthest)
                if taken == 50 then break end
              end
              assert.equal(50, taken)
              assert.is_true(furthest <= 50 + ahead)
            end
          end)

        it("cancels the rest when the loop is left", function()
          local ran = pools.signal()
          for _ in stream(function() ran:increment() end, -- luacheck: ignore 512
                          numbers(10000)) do
            break
          end
          assert.equal(5, pool:apply(function() return 5 end))
          assert.is_true(ran:value() <= 1 + 4 * #pool)
        end)

        it("cancels the rest when the loop is left by an error", function()
          local ran = pools.signal()
          local e = faults.of(function()
            for _ in stream(function() ran:increment() end, endless()) do
              error("left", 0)
            end
          end)
          assert.equal("left", e)
          assert.is_true(ran:value() <= 1 + 4 * #pool)
        end)

        it("gives error objects in their places with errors = 'collect'",
          function()
            local results, order = drain(stream(function(i)
              if i % 2 == 0 then error("even", 0) end
              return i
            end, numbers(6), { errors = "collect" }))
            assert.equal(6, #order)
            for i = 1, 5, 2 do assert.equal(i, results[i]) end
            for i = 2, 6, 2 do
              assert.equal("task", results[i].kind)
              assert.equal("even", results[i].value)
              assert.equal(i, results[i].item)
            end
          end)

        it("may run inside another", function()
          local sum = 0
          for _, v in stream(square, numbers(5)) do
            for _, w in stream(square, numbers(3)) do sum = sum + v * w end
          end
          assert.equal(55 * 14, sum)
        end)

        it("has kwds and seeds as map has", function()
          local random = math.random
          local function draw() return random(1 << 40) end
          local options = { seed = 5, chunksize = 2 }
          local expected = pool:map(draw, numbers(6), options)
          expected.n = nil
          assert.same(expected, (drain(stream(draw, numbers(6), options))))
        end)

        it("may be dropped half way", function()
          do
            local next_result = stream(square, endless())
            next_result()
          end
          pools.collect()
          assert.equal(4, pool:apply(square, { 2 }))
        end)
      end)
    end
  end)
end

for _, kind in ipairs(pools.concurrent) do
  describe("a " .. kind .. " pool's", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("imap gives results while later items run", function()
      local go, seen = pools.signal(), {}
      for i in pool:imap(function(i)
        if i == 2 then pools.await(go) end
      end, { 1, 2 }) do
        seen[#seen + 1] = i
        go:increment()
      end
      assert.same({ 1, 2 }, seen)
    end)

    it("imap_unordered gives first what is done first", function()
      local go, seen = pools.signal(), {}
      for i in pool:imap_unordered(function(i)
        if i == 1 then pools.await(go) end
      end, { 1, 2, 3 }) do
        seen[#seen + 1] = i
        if #seen == 2 then go:increment() end
      end
      assert.equal(1, seen[3])
    end)

    it("imap fills the workers before it is asked for the first result",
      function()
        local both = pools.signal()
        local count = 0
        for _ in pool:imap(function()
          both:increment()
          pools.await(both, 2)
        end, { 1, 2 }) do
          count = count + 1
        end
        assert.equal(2, count)
      end)

    it("imap stops what runs when the loop is left", function()
      local started, left = pools.signal(), pools.signal()
      local ok = pcall(function()
        for _ in pool:imap_unordered(function(i)
          if i == 1 then return end
          started:increment()
          local _ <close> = setmetatable({}, {
            __close = function() left:increment() end
          })
          while true do end -- luacheck: ignore
        end, { 1, 2, 3 }) do
          pools.await(started)
          error "left"
        end
      end)
      assert.is_false(ok)
      pools.await(left, started:value())
      assert.equal(1, pool:apply(function() return 1 end))
    end)

    it("is joined after the loop that feeds it, not inside", function()
      local own = tm.Pool { kind = kind, workers = 2 }
      for i in own:imap(square, tm.range(20)) do
        if i == 2 then
          own:close()
          assert.error_matches(function() own:join() end,
            "a loop over imap of this pool has not ended")
        end
      end
      own:join()
    end)

    it("imap fails at the item that cannot travel, after those before it",
      function()
        local file <close> = io.tmpfile()
        local next_result = pool:imap(square, { 1, 2, file, 4 })
        assert.same({ 1, 1 }, { next_result() })
        assert.same({ 2, 4 }, { next_result() })
        local e = faults.kind("send", next_result)
        assert.match("item 3", e.message, 1, true)
        assert.match("FILE*", e.message, 1, true)
      end)
  end)
end
