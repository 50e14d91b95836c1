-- What all kinds of pool do alike: calls, order, chunks, what may be items
-- and arguments, what fails before anything runs, what is let go.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

local error, math, string, table = error, math, string, table
local setmetatable, tostring, type = setmetatable, tostring, type

local function square(x) return x * x end

-- 1, 4, 9 ... with n.
local function squares(n)
  local list = { n = n }
  for i = 1, n do list[i] = i * i end
  return list
end

local function numbers(n)
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end

local function iterate(n)
  local i = 0
  return function()
    i = i + 1
    if i <= n then return i end
  end
end

for _, kind in ipairs(pools.kinds) do
  describe("a " .. kind .. " pool", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    describe("map", function()
      it("answers results in item order, and n", function()
        assert.same(squares(10), pool:map(square, numbers(10)))
        assert.same(squares(1000), pool:map(square, numbers(1000)))
        assert.same(squares(1), pool:map(square, { 1 }))
      end)

      it("answers the same for each chunksize", function()
        for _, chunksize in ipairs { 1, 2, 7, 20, 99, 100, 101, 1000, 1e15 } do
          assert.same(squares(100),
            pool:map(square, numbers(100), { chunksize = chunksize }))
          assert.same(squares(100), pool:map(square, numbers(100), chunksize))
        end
      end)

      it("keeps order when later items are done first", function()
        local done = pools.signal()
        local results = pool:map(function(i)
          if i == 1 and kind ~= "fake" then pools.await(done) end
          done:increment()
          return i
        end, numbers(20), 1)
        assert.same(numbers(20), { table.unpack(results) })
      end)

      it("keeps the place of a nil result", function()
        local results = pool:map(function(i)
          if i % 2 == 1 then return i end
        end, numbers(4))
        assert.same({ 1, nil, 3, nil, n = 4 }, results)
        assert.same({ n = 3 }, pool:map(function() end, numbers(3)))
      end)

      it("keeps the first value only", function()
        assert.same({ 1, 2, n = 2 },
          pool:map(function(i) return i, "more" end, { 1, 2 }))
      end)

      it("passes one argument", function()
        assert.same({ 1, 1, n = 2 }, pool:map(function(...)
          return table.pack(...).n
        end, { "a", {} }))
      end)

      it("answers false, strings, floats and tables as they are", function()
        local results = pool:map(function(x) return x end,
          { false, "a\0b", 1.5, { x = { 1 } }, math.mininteger, 2 ^ 53, "" })
        assert.same({ false, "a\0b", 1.5, { x = { 1 } }, math.mininteger,
          2 ^ 53, "", n = 7 }, results)
        assert.equal("float", math.type(results[6]))
        assert.equal("integer", math.type(results[5]))
      end)

      it("takes an empty input", function()
        local function never() error "was called" end
        for _, items in ipairs { {}, { n = 0 }, tm.range(0), iterate(0) } do
          assert.same({ n = 0 }, pool:map(never, items))
        end
        assert.same({ n = 0 }, pool:map(never, {}, 1))
        assert.same({ n = 0 }, pool:map_async(never, {}, 1):get(60))
        assert.same({ n = 0 }, pool:starmap(never, {}))
        for _ in pool:imap(never, {}) do error "there is nothing" end
        for _ in pool:imap_unordered(never, {}) do error "nothing" end
      end)

      it("takes C functions and what can be called", function()
        assert.same({ "A", "B", n = 2 }, pool:map(string.upper, { "a", "b" }))
        local scale = setmetatable({ by = 3 }, {
          __call = function(self, x) return self.by * x end
        })
        assert.same({ 3, 6, n = 2 }, pool:map(scale, { 1, 2 }))
      end)

      it("has what functions close over", function()
        local by, add = 10, { 5 }
        local function inner(x) return x * by end
        assert.same({ 15, 25, n = 2 },
          pool:map(function(x) return inner(x) + add[1] end, { 1, 2 }))
        by = 20
        assert.same({ 25, n = 1 },
          pool:map(function(x) return inner(x) + add[1] end, { 1 }))
      end)

      it("leaves the items as they were", function()
        local items = { 1, 2, { 3 } }
        pool:map(type, items)
        assert.same({ 1, 2, { 3 } }, items)
      end)

      it("serves many calls", function()
        for i = 1, 200 do
          assert.same({ i, n = 1 }, pool:map(function() return i end, { 0 }))
        end
      end)
    end)

    describe("items", function()
      it("may be a range", function()
        assert.same(squares(100), pool:map(square, tm.range(100)))
        assert.same({ 5, 7, 9, n = 3 },
          pool:map(function(i) return i end, tm.range(5, 10, 2)))
        assert.same({ 3, 2, 1, n = 3 },
          pool:map(function(i) return i end, tm.range(3, 1, -1)))
        assert.same({ 0.0, 0.5, 1.0, n = 3 },
          pool:map(function(x) return x end, tm.range(0, 1, 0.5)))
        assert.same({ n = 0 }, pool:map(square, tm.range(2, 1)))
        assert.equal("integer", math.type(pool:map(square, tm.range(1))[1]))
      end)

      it("may be an iterator function", function()
        assert.same(squares(50), pool:map(square, iterate(50)))
        assert.same({ "a", "b", n = 2 },
          pool:map(function(s) return s end, ("a b"):gmatch("%a")))
      end)

      it("reach as far as their n", function()
        local function kind_of(x) return type(x) end
        assert.same({ "number", "nil", "nil", n = 3 },
          pool:map(kind_of, { 1, n = 3 }))
        assert.same({ "number", n = 1 }, pool:map(kind_of, { 1, 2, n = 1 }))
        assert.same({ "nil", n = 1 }, pool:map(kind_of, { n = 1.0 }))
      end)

      it("may be had through metamethods", function()
        local list = setmetatable({}, {
          __len = function() return 3 end,
          __index = function(_, i) return i * 10 end,
        })
        list.n = 3
        assert.same({ 10, 20, 30, n = 3 },
          pool:map(function(x) return x end, list))
      end)

      it("may not be what pairs gives", function()
        local t = { a = 1 }
        local text = "'%s' was given the three values of pairs or ipairs: "
          .. "the second would be taken for options; pass a sequence, or an "
          .. "iterator function that needs no arguments"
        faults.at_line(text:format "map", function() pool:map(square, pairs(t)) end)
        faults.at_line(text:format "imap", function() pool:imap(square, ipairs(t)) end)
        faults.at_line(text:format "starmap", function() pool:starmap(square, pairs(t)) end)
      end)

      it("that raise do so before anything runs", function()
        local ran, fault = pools.signal(), { "fault" }
        local function count(x)
          ran:increment()
          return x
        end
        for _, case in ipairs { { 1, 1 }, { 1, 1 }, { 10, 4 } } do
          assert.equal(fault, faults.of(pool.map, pool, count,
            pools.throwing(case[1], case[2], fault), 1))
        end
        assert.equal(fault, faults.of(pool.map_async, pool, count,
          pools.throwing(3, 2, fault)))
        assert.equal(0, ran:value())
        assert.same(squares(3), pool:map(square, { 1, 2, 3 }))
      end)
    end)

    describe("starmap", function()
      it("spreads tuples", function()
        local tuples, products = {}, { n = 100 }
        for i = 1, 100 do
          tuples[i], products[i] = { i, 100 - i }, i * (100 - i)
        end
        local function multiply(x, y) return x * y end
        assert.same(products, pool:starmap(multiply, tuples))
        assert.same(products, pool:starmap(multiply, tuples, 20))
        assert.same(products, pool:starmap_async(multiply, tuples):get())
      end)

      it("honours the tuples' n", function()
        local results = pool:starmap(function(...)
          return table.pack(...)
        end, { { 1, nil, 3, n = 3 }, { n = 2 }, {}, { 1, 2, n = 1 } })
        assert.same({ { 1, nil, 3, n = 3 }, { n = 2 }, { n = 0 },
          { 1, n = 1 }, n = 4 }, results)
      end)

      it("says which item is no tuple", function()
        local e = faults.kind("task", pool.starmap, pool, square,
          { { 1 }, 7 }, 1)
        assert.equal(2, e.item)
        assert.match("starmap expects a table of arguments as each item "
          .. "(got a number)", e.message, 1, true)
      end)
    end)

    describe("apply", function()
      it("passes arguments and answers all values", function()
        assert.equal(25, pool:apply(square, { 5 }))
        assert.same({ 1, nil, "c", nil, n = 4 },
          table.pack(pool:apply(function() return 1, nil, "c", nil end)))
        assert.equal(0, select("#", pool:apply(function() end)))
        assert.equal(1, select("#", pool:apply(function() return nil end)))
      end)

      it("honours the arguments' n", function()
        local function count(...) return table.pack(...).n end
        assert.equal(0, pool:apply(count))
        assert.equal(0, pool:apply(count, {}))
        assert.equal(3, pool:apply(count, { 1, nil, nil, n = 3 }))
        assert.equal(1, pool:apply(count, { 1, 2, n = 1 }))
      end)
    end)

    describe("kwds", function()
      local function last(...) return table.pack(...) end

      it("are one last argument", function()
        assert.same({ 5, { x = 3 }, n = 2 },
          pool:apply(last, { 5 }, { kwds = { x = 3 } }))
        assert.same({ { x = 3 }, n = 1 },
          pool:apply(last, {}, { kwds = { x = 3 } }))
        assert.same({ { 1, { k = true }, n = 2 }, n = 1 },
          pool:map(last, { 1 }, { kwds = { k = true } }))
        assert.same({ { 1, 2, { k = true }, n = 3 }, n = 1 },
          pool:starmap(last, { { 1, 2 } }, { kwds = { k = true } }))
        for _, v in pool:imap(last, { 1 }, { kwds = { k = true } }) do
          assert.same({ 1, { k = true }, n = 2 }, v)
        end
      end)

      it("are not passed when empty", function()
        assert.same({ 5, n = 1 }, pool:apply(last, { 5 }, { kwds = {} }))
      end)
    end)

    describe("after an error", function()
      it("goes on", function()
        for _ = 1, 3 do
          faults.kind("task", pool.map, pool,
            function() error "bad" end, numbers(10))
          assert.same(squares(10), pool:map(square, numbers(10)))
        end
      end)

      it("of 1 MB, too", function()
        local e = faults.kind("task", pool.map, pool, function(i)
          error(("x"):rep(1000000 + i), 0)
        end, { 0, 1 })
        assert.equal(1000000, #e.value)
        assert.same(squares(3), pool:map(square, { 1, 2, 3 }))
      end)
    end)

    describe("what went through it", function()
      it("is let go", function()
        local refs = setmetatable({}, { __mode = "k" })
        local items = {}
        for i = 1, 10 do
          items[i] = { i }
          refs[items[i]] = true
        end
        local function identity(x) return x end
        local results = pool:map(identity, items)
        for _, result in ipairs(results) do refs[result] = true end
        for _, v in pool:imap(identity, items) do refs[v] = true end
        local async = pool:map_async(identity, items, { callback = type })
        for _, result in ipairs(async:get()) do refs[result] = true end
        refs[pool:apply(identity, { items[1] })] = true
        items, results, async = nil, nil, nil -- luacheck: ignore
        pools.collect()
        assert.is_nil(next(refs))
      end)

      it("is let go by the callbacks of results that nobody keeps", function()
        local refs, called = setmetatable({}, { __mode = "k" }), false
        do
          local item = {}
          refs[item] = true
          pool:map_async(type, { item }, {
            callback = function() called = item ~= nil end
          }):wait()
        end
        pools.collect()
        assert.is_true(called)
        assert.is_nil(next(refs))
      end)
    end)

    it("says how many workers it has, and what it is", function()
      assert.equal(kind == "fake" and 1 or 2, #pool)
      assert.match(kind .. ".*pool.*" .. #pool .. " worker.*open",
        tostring(pool))
    end)
  end)
end

-- Where values must travel, what cannot is told before anything runs.
for _, kind in ipairs(pools.concurrent) do
  describe("what cannot travel to a " .. kind .. " pool", function()
    local pool, file

    setup(function()
      pool = pools.new(kind)
      file = io.tmpfile()
    end)
    teardown(function()
      file:close()
      pools.stop(pool)
    end)

    local function refused(text, f, ...)
      local ran = pools.signal()
      local e = faults.kind("send", f, pool, function()
        ran:increment()
      end, ...)
      assert.match(text, e.message, 1, true)
      assert.equal(0, ran:value())
    end

    it("is an error before anything runs, and names the path", function()
      refused("item 2", pool.map, { 1, file })
      refused("FILE*", pool.map, { 1, file })
      refused(".log.file", pool.map, { 1, { log = { file = file } } })
      refused("coroutine", pool.map_async, { coroutine.create(type) })
      refused("args", pool.apply, { file })
      refused("item 1", pool.starmap, { { 1, file } })
      refused("FILE*", pool.apply, {}, { kwds = { f = file } })
    end)

    it("is found in upvalues, by the function's name", function()
      local mesh = { log = { file = file } }
      local function solve() return mesh end
      local e = faults.kind("send", pool.map, pool, solve, { 1 })
      assert.equal("upvalue 'mesh' of 'solve': .log.file is a FILE* userdata",
        e.message)
    end)

    it("is found in results, and costs no worker", function()
      local open = io.tmpfile
      for i = 1, 20 do
        local seen
        local result = pool:apply_async(function() return open() end, nil, {
          error_callback = function(e) seen = e end
        })
        local e = faults.kind("send", result.get, result)
        assert.match("FILE*", e.message, 1, true)
        assert.equal(e, seen)
        assert.equal(i, pool:apply(function() return i end))
      end
    end)

    it("fails its own item only", function()
      local open = io.tmpfile
      local results = pool:map(function(i)
        if i == 2 then return { deep = { open() } } end
        return i
      end, { 1, 2, 3 }, { errors = "collect" })
      assert.equal(1, results[1])
      assert.equal(3, results[3])
      assert.same({ 2 }, results.errors)
      assert.equal("send", results[2].kind)
      assert.match("the result of item 2", results[2].message, 1, true)
    end)
  end)
end
