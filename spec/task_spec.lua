-- tm.task: a function with a name and options, that workers keep.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

local error, math, tostring = error, math, tostring

local function square(x) return x * x end

describe("a task", function()
  it("is made from a name and a function, or from a table", function()
    assert.equal(9, tm.task("square", square)(3))
    assert.equal(9, tm.task { name = "square", run = square }(3))
    assert.equal("tidemill.task 'square'",
      tostring(tm.task("square", square)))
  end)

  it("passes and returns all values when called", function()
    local task = tm.task("pack", function(...) return ... end)
    assert.same({ 1, nil, 3, nil, n = 4 },
      table.pack(task(1, nil, 3, nil)))
    assert.equal("raised", faults.of(tm.task("fail", error), "raised", 0))
  end)

  it("is set up before the script itself calls it first", function()
    local calls = 0
    local task = tm.task { name = "t", run = function() return calls end,
                           setup = function() calls = calls + 1 end }
    assert.equal(1, task())
    assert.equal(1, task())
  end)

  it("says what is wrong with it", function()
    faults.at_line("task: a name is needed (a string)",
      function() tm.task(nil, square) end)
    faults.at_line("task: a name is needed (a string)",
      function() tm.task { run = square } end)
    faults.at_line("task: a name is needed (a string)",
      function() tm.task("", square) end)
    faults.at_line("task 't': 'run' must be a function (got nil)",
      function() tm.task("t") end)
    faults.at_line("task 't': 'setup' must be a function (got number)",
      function() tm.task { name = "t", run = square, setup = 1 } end)
    faults.at_line("unknown option 'retrys' (did you mean 'retries'?)",
      function() tm.task { name = "t", run = square, retrys = 1 } end)
    faults.at_line("option 'timeout' must be a number of seconds above 0 (got 0)",
      function() tm.task { name = "t", run = square, timeout = 0 } end)
    faults.at_line("option 'chunksize' must be a whole number from 1 (got 1.5)",
      function() tm.task { name = "t", run = square, chunksize = 1.5 } end)
  end)
end)

for _, kind in ipairs(pools.kinds) do
  describe("a task in a " .. kind .. " pool", function()
    local pool

    before_each(function() pool = pools.new(kind) end)
    after_each(function() pools.stop(pool) end)

    it("is taken wherever a function is", function()
      local task = tm.task("square", square)
      assert.same({ 4, 9, n = 2 }, pool:map(task, { 2, 3 }))
      assert.equal(16, pool:apply(task, { 4 }))
      assert.equal(16, pool:apply_async(task, { 4 }):get())
      assert.same({ 25, n = 1 }, pool:starmap(task, { { 5 } }))
      for _, v in pool:imap(task, { 6 }) do assert.equal(36, v) end
    end)

    it("is named in errors", function()
      local e = faults.kind("task", pool.map, pool,
        tm.task("solve", function() error("bad", 0) end), { 1 })
      assert.equal("solve", e.task)
      assert.match("^task 'solve', item 1: bad\n", tostring(e))
    end)

    it("is set up once per worker, before its first item", function()
      local setups, early = pools.signal(), pools.signal()
      local ready = false
      local task = tm.task { name = "t", run = function()
        if not ready then early:increment() end
      end, setup = function()
        ready = true
        setups:increment()
      end }
      for _ = 1, 3 do pool:map(task, tm.range(20), 1) end
      assert.equal(0, early:value())
      assert.is_true(setups:value() >= 1 and setups:value() <= #pool)
    end)

    it("fails with its setup's error", function()
      local task = tm.task { name = "t", run = square,
                             setup = function() error("no licence", 0) end }
      local e = faults.kind("task", pool.map, pool, task, { 1 })
      assert.match("no licence", e.message, 1, true)
      assert.equal(4, pool:apply(square, { 2 }))
    end)

    it("may be an upvalue or an item", function()
      local task = tm.task("square", square)
      assert.equal(49, pool:apply(function() return task(7) end))
      assert.same({ 9, n = 1 },
        pool:map(function(t) return t(3) end, { task }))
    end)

    it("has options of its own, which those of the call override",
      function()
        local task = tm.task { name = "t", run = function(x)
          error(x, 0)
        end, seed = 5, retries = 1, chunksize = 2 }
        local results = pool:map(task, { 1, 2 }, { errors = "collect" })
        assert.same({ 1, 2 }, results.errors)
        local draw = tm.task { name = "d", seed = 5, run = function()
          return math.random(1 << 40)
        end }
        assert.equal(pool:map(draw, { 1 })[1],
          pool:map(draw, { 1 }, { seed = 5 })[1])
        assert.not_equal(pool:map(draw, { 1 })[1],
          pool:map(draw, { 1 }, { seed = 6 })[1])
      end)
  end)
end

for _, kind in ipairs(pools.concurrent) do
  describe("a task in a worker of a " .. kind .. " pool", function()
    local pool

    before_each(function() pool = pools.new(kind, { workers = 1 }) end)
    after_each(function() pools.stop(pool) end)

    it("keeps its upvalues from job to job; a function does not", function()
      local count = 0
      local function increment()
        count = count + 1
        return count
      end
      local task = tm.task("count", increment)
      for i = 1, 3 do assert.equal(i, pool:apply(task)) end
      for _ = 1, 3 do assert.equal(1, pool:apply(increment)) end
      assert.equal(0, count)
    end)

    it("shares upvalues with its setup", function()
      local table_of
      local task = tm.task { name = "t", run = function(i)
        return table_of[i]
      end, setup = function() table_of = { "a", "b" } end }
      assert.same({ "b", "a", n = 2 }, pool:map(task, { 2, 1 }))
      assert.is_nil(table_of)
    end)

    it("has a time limit of its own", function()
      local task = tm.task { name = "loop", timeout = 0.05, run = function()
        while true do end -- luacheck: ignore
      end }
      local e = faults.kind("timeout", pool.map, pool, task, { 1 })
      assert.equal("loop", e.task)
    end)

    it("that cannot travel says why, by its name", function()
      local file <close> = io.tmpfile()
      local task = tm.task("reader", function() return file end)
      local e = faults.kind("send", pool.map, pool, task, { 1 })
      assert.match("file", e.message, 1, true)
      assert.match("FILE*", e.message, 1, true)
    end)
  end)
end
