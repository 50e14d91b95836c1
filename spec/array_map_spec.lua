-- Maps over arrays, and arrays that take the results.

local tm = require "tidemill"
local core = require "tidemill.core"
local pools = require "spec.support.pools"

local error, math = error, math

local function has(pattern, f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.matches(pattern, err)
end

local function failure(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  return err
end

local function counted(dtype, ...)
  local a = tm.array(dtype, { ... })
  local flat = a:reshape(a.size)
  for i = 1, a.size do flat[i] = i end
  return a
end

local function double(x) return 2 * x end
local function sum(row) return row:sum() end

-- Live blocks of the arena when all garbage is gone, here and in workers.
local function blocks()
  pools.collect()
  return core.arena_stats().blocks
end

for _, kind in ipairs(pools.kinds) do
  describe("a " .. kind .. " pool", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("maps over elements", function()
      for _, dtype in ipairs { "f64", "f32", "i64", "i32", "u8" } do
        local results = pool:map(double, counted(dtype, 100))
        assert.equal(100, results.n)
        for i = 1, 100 do assert.equal(2 * i, results[i]) end
        assert.equal(dtype:sub(1, 1) == "f" and "float" or "integer",
          math.type(results[1]))
      end
      assert.same({ n = 0 }, pool:map(double, tm.array("f64", 0)))
    end)

    it("maps over rows, as views", function()
      local m = counted("f64", 50, 3)
      local results = pool:map(sum, m, { chunksize = 7 })
      for i = 1, 50 do assert.equal(9 * i - 3, results[i]) end
      pool:map(function(row) row:fill(row[1]) end, m)
      assert.same({ 4, 4, 4 }, m[2]:totable())
      local cube = counted("i32", 4, 2, 3)
      assert.same({ 2, 3 }, pool:map(function(x) return x.shape end, cube)[1])
      assert.equal(m[7], pool:map(function(x) return x end, m)[7])
    end)

    it("maps over complex numbers as two arguments", function()
      local a = tm.array({ { 1, 2 }, { 3, 4 } }, "c128")
      local function join(re, im) return 10 * re + im end
      assert.same({ n = 2, 12, 34 }, pool:map(join, a))
      local seen = {}
      for i, v in pool:imap(join, a) do seen[i] = v end
      assert.same({ 12, 34 }, seen)
    end)

    it("streams elements and rows", function()
      local seen = {}
      for i, v in pool:imap(double, counted("i64", 30)) do seen[i] = v end
      for i = 1, 30 do assert.equal(2 * i, seen[i]) end
      local total = 0
      for _, v in pool:imap_unordered(sum, counted("f64", 20, 2)) do
        total = total + v
      end
      assert.equal(820, total)
    end)

    it("takes no tuples from an array", function()
      has("starmap takes a table of arguments", pool.starmap, pool, double,
        counted("f64", 3))
    end)

    it("passes kwds and seeds as with other items", function()
      local a = counted("f64", 3)
      assert.same({ n = 3, 11, 12, 13 }, pool:map(function(x, o)
        return x + o.more
      end, a, { kwds = { more = 10 } }))
      local function draw() return math.random() end
      assert.same(pool:map(draw, { 1, 2, 3 }, { seed = 5 }),
        pool:map(draw, a, { seed = 5 }))
    end)

    it("says which item failed", function()
      local e = failure(pool.map, pool, function(x)
        if x == 3 then error("no three", 0) end
      end, counted("f64", 5))
      assert.equal("no three", e.value)
      assert.equal(3, e.item)
    end)

    describe("with an array for the results", function()
      it("answers it, filled", function()
        for _, dtype in ipairs { "f64", "f32", "i64", "i32", "u8" } do
          local out = tm.array(dtype, 100)
          assert.equal(out, pool:map(double, counted("i64", 100),
            { out = out }))
          for i = 1, 100 do assert.equal(2 * i, out[i]) end
        end
        local out = tm.array("f64", 1000)
        pool:map(double, tm.range(1000), { out = out, chunksize = 3 })
        assert.equal(1001000, out:sum())
        pool:starmap(function(x, y) return x - y end, { { 5, 3 } },
          { out = out:view(1, 1) })
        assert.equal(2, out[1])
        assert.equal(out, pool:map_async(double, counted("f64", 1000),
          { out = out }):get())
        local none = tm.array("f64", 0)
        assert.equal(none, pool:map(double, {}, { out = none }))
      end)

      it("fills any shape of as many elements", function()
        local out = tm.array("i64", { 2, 3 })
        pool:map(double, tm.range(6), { out = out })
        assert.same({ { 2, 4, 6 }, { 8, 10, 12 } }, out:totable())
      end)

      it("maps an array onto itself", function()
        local a = counted("f64", 100)
        pool:map(double, a, { out = a })
        assert.equal(10100, a:sum())
      end)

      it("checks it before anything runs", function()
        local calls = pools.signal()
        local function call() calls:increment() return 1 end
        local a = tm.array("f64", 2)
        for pattern, opts in pairs {
          ["must be an array"] = { out = {} },
          ["each of the 3 items %(got 2%)"] = { out = a },
          ["a c128 element two"] = { out = tm.array("c128", 3) },
          ["no place for errors"] = { out = tm.array("f64", 3),
                                      errors = "collect" },
        } do
          has(pattern, pool.map, pool, call, { 1, 2, 3 }, opts)
        end
        has("'apply' has none", pool.apply, pool, call, { 1 }, { out = a })
        has("'imap' has none", pool.imap, pool, call, { 1 }, { out = a })
        assert.equal(0, calls:value())
      end)

      it("fails the item whose result does not fit", function()
        local function from(list)
          return function(x) return list[x] end
        end
        for pattern, values in pairs {
          ["300 does not fit into u8"] = { 1, 300, 3 },
          ["0.5 is not a whole number"] = { 1, 0.5, 3 },
          ["item 2 is string"] = { 1, "2", 3 },
          ["item 2 is nil"] = { 1, nil, 3 },
        } do
          local out = tm.array("u8", 3)
          local e = failure(pool.map, pool, from(values), { 1, 2, 3 },
            { out = out })
          assert.matches(pattern, e.message)
          assert.equal(2, e.item)
          assert.equal(1, out[1])
          assert.equal(0, out[2])
          assert.equal(out, e.results)
        end
        local e = failure(pool.map, pool, function() end, { 1 },
          { out = tm.array("f64", 1) })
        assert.matches("item 1 is n", e.message)
      end)

      it("keeps what was done when the task fails", function()
        local out = tm.array("f64", 3)
        local e = failure(pool.map, pool, function(x)
          if x == 3 then error("no three", 0) end
          return x
        end, { 1, 2, 3 }, { out = out })
        assert.equal("no three", e.value)
        assert.equal(3, e.item)
        assert.same({ 1, 2, 0 }, out:totable())
      end)

      it("gives it to the callback", function()
        local got
        local out = tm.array("f64", 3)
        pool:map(double, { 1, 2, 3 }, {
          out = out, callback = function(a) got = a end
        })
        assert.equal(out, got)
      end)
    end)

    it("sends arrays by handle, both ways", function()
      local a = tm.array("f64", 1000)
      local back, made = pool:apply(function(x)
        x[10] = 5
        return x, tm.array("i32", { 2, 2 }):fill(7)
      end, { a })
      assert.equal(5, a[10])
      assert.equal(a, back)
      assert.equal(28, made:sum())
      assert.equal(5, pool:map(function(t) return t.a[10] end,
        { { a = a:view(1, 10) } })[1])
      local task = tm.task("with an upvalue", function(i) return a[i] end)
      assert.equal(5, pool:apply(task, { 10 }))
      assert.equal(5, pool:map(function() return tm.array.load and a[10] end,
        { 1 })[1])
    end)

    it("frees what nobody has any more", function()
      local own = pools.new(kind)
      own:map(double, { 1, 2, 3 })
      local before = blocks()
      own:map(function(row) return row:sum() end,
        counted("f64", 100, 10), { out = tm.array("f64", 100) })
      own:apply(function(x) return x end, { tm.array("f64", 100000) })
      own:map(function() return tm.array("f64", 100000) end, tm.range(20))
      for i in own:imap(function(x) return x end, counted("f64", 9, 9)) do
        if i == 3 then break end
      end
      pools.stop(own)
      assert.is_true(blocks() <= before)
    end)
  end)
end

describe("a worker that held a large array", function()
  it("lets it go before it sleeps", function()
    local pool <close> = pools.new("thread", { workers = 1 })
    pools.collect()
    local before = core.arena_stats().used
    local size = 64 << 20
    do
      local a = tm.array("u8", size)
      assert.equal(0, pool:apply(function(x) return x:sum() end, { a }))
    end
    pools.wait_until(function()
      pools.collect()
      return core.arena_stats().used < before + size
    end, "the array to go")
  end)
end)

