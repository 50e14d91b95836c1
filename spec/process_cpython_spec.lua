-- What CPython's own tests ask of multiprocessing.Pool, asked of a pool of
-- processes: calls, maps, imap, callbacks, errors, ends, lives of workers.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

local error, io, os, require = error, io, os, require
local string, table = string, table

local function square(x) return x * x end

local function multiply(x, y) return x * (y or 1) end

local function numbers(n)
  local list = { n = n }
  for i = 1, n do list[i] = i end
  return list
end

local function squares(n)
  local list = { n = n }
  for i = 1, n do list[i] = i * i end
  return list
end

local function pid()
  local file = io.open "/proc/self/stat"
  local number = file:read "n"
  file:close()
  return number
end

local function fail() error({ code = 7 }, 0) end

-- An iterator that raises before item k.
local function explosive(n, k) return pools.throwing(n, k, "exploded") end

describe("a pool of four processes", function()
  local pool

  setup(function() pool = pools.new("process", { workers = 4 }) end)
  teardown(function() pools.stop(pool) end)

  it("applies", function()
    assert.equal(25, pool:apply(square, { 5 }))
    assert.equal(1, pool:apply(square, { -1 }))
    assert.equal(6, pool:apply(function(x, o) return x * o.y end, { 2 },
      { kwds = { y = 3 } }))
  end)

  it("maps", function()
    assert.same(squares(10), pool:map(square, numbers(10)))
    assert.same(squares(100), pool:map(square, numbers(100),
      { chunksize = 20 }))
    assert.same({ n = 0 }, pool:map(square, {}))
  end)

  it("starmaps", function()
    local tuples, products = {}, { n = 100 }
    for i = 1, 100 do tuples[i], products[i] = { i, i + 1 }, i * (i + 1) end
    assert.same(products, pool:starmap(multiply, tuples))
    assert.same(products, pool:starmap(multiply, tuples, { chunksize = 20 }))
    assert.same(products, pool:starmap_async(multiply, tuples):get())
  end)

  it("calls back with what it maps", function()
    local got
    local asked = pool:map_async(square, numbers(10),
      { callback = function(r) got = r end })
    asked:wait()
    assert.same(squares(10), got)
    got = nil
    asked = pool:map_async(fail, { 1 },
      { error_callback = function(e) got = e end })
    asked:wait()
    assert.is_false(asked:successful())
    assert.equal("task", got.kind)
  end)

  it("does not hang on what cannot travel", function()
    local unsendable = coroutine.create(function() end)
    assert.is_false((pcall(pool.map, pool, square, { unsendable })))
    assert.is_false((pcall(pool.map, pool, function()
      return coroutine.create(function() end)
    end, { 1, 2 })))
    assert.equal(9, pool:apply(square, { 3 }))
  end)

  it("answers later, and says when it is late", function()
    local go = pools.signal()
    local function wait(x)
      pools.await(go)
      return x
    end
    local asked = pool:apply_async(wait, { 5 })
    assert.is_false(asked:ready())
    assert.is_false(asked:wait(0.01))
    faults.kind("timeout", asked.get, asked, 0.01)
    go:increment()
    assert.equal(5, asked:get())
    assert.is_true(asked:ready() and asked:successful())
  end)

  it("iterates in order", function()
    for _, chunksize in ipairs { 1, 7, 100 } do
      local n = 0
      for i, v in pool:imap(square, tm.range(1, 1000), chunksize) do
        n = n + 1
        assert.equal(n, i)
        assert.equal(n * n, v)
      end
      assert.equal(1000, n)
    end
  end)

  it("iterates in any order", function()
    local sum, n = 0, 0
    for _, v in pool:imap_unordered(square, tm.range(1, 1000), 53) do
      sum, n = sum + v, n + 1
    end
    assert.equal(1000, n)
    assert.equal(1000 * 1001 * 2001 // 6, sum)
  end)

  it("gives what came before an iterator's error, then the error", function()
    for _, method in ipairs { "imap", "imap_unordered" } do
      for _, k in ipairs { 1, 5 } do
        local n = 0
        local e = faults.of(function()
          for _ in pool[method](pool, square, explosive(10, k)) do
            n = n + 1
          end
        end)
        assert.equal("exploded", e)
        assert.equal(k - 1, n)
      end
    end
  end)

  it("raises an iterator's error from map before anything runs", function()
    assert.equal("exploded", faults.of(pool.map, pool, square,
      explosive(10, 3)))
    assert.same(squares(3), pool:map(square, numbers(3)))
  end)

  it("raises a task's error with its value and where it was", function()
    local e = faults.kind("task", pool.apply, pool, fail)
    assert.equal(7, e.value.code)
    assert.matches("process_cpython_spec", e.traceback)
    local it = pool:imap(function(i)
      if i == 2 then error("two", 0) end
      return i
    end, numbers(2))
    assert.equal(1, (it()))
    assert.equal("two", faults.kind("task", it).message)
  end)

  it("lets go of what tasks were given", function()
    local seen = setmetatable({}, { __mode = "k" })
    local given = { 1 }
    seen[given] = true
    pool:map(function(t) return t[1] end, { given })
    given = nil
    pools.collect()
    assert.is_nil(next(seen), tostring(given))
  end)
end)

describe("the end of a pool of processes", function()
  it("by terminate does not wait for items", function()
    local pool, began = pools.new "process", pools.signal()
    local asked = pool:map_async(function(i)
      began:increment()
      os.execute("exec sleep 60")
      return i
    end, numbers(100))
    pools.await(began, 2)
    local start = tm.clock()
    pool:terminate()
    pool:join()
    assert.is_true(tm.clock() - start < 30)
    assert.is_false(asked:successful())
  end)

  it("by terminate when it is empty", function()
    local pool = pools.new("process", { workers = 3 })
    pool:terminate()
    pool:join()
  end)

  it("by close lets items be done", function()
    local pool = pools.new "process"
    local asked = pool:map_async(square, numbers(500), { chunksize = 1 })
    pool:close()
    pool:join()
    assert.same(squares(500), asked:get())
    assert.matches("closed", faults.of(pool.apply, pool, square, { 1 }))
  end)

  it("by the end of a block", function()
    local outer
    do
      local pool <close> = pools.new "process"
      outer = pool
      assert.equal(16, pool:apply(square, { 4 }))
    end
    assert.matches("closed", faults.of(outer.map, outer, square, { 1 }))
  end)
end)

describe("the workers of a pool of processes", function()
  it("are other processes, and as many as were asked for", function()
    local pool <close> = pools.new("process", { workers = 3 })
    local here, all = pools.signal(), {}
    for _, id in ipairs(pool:map(function()
      here:increment()
      pools.await(here, 3)
      return pid()
    end, numbers(3), { chunksize = 1 })) do
      assert.are_not.equal(pid(), id)
      all[id] = true
    end
    local n = 0
    for _ in pairs(all) do n = n + 1 end
    assert.equal(3, n)
  end)

  it("end after max_tasks_per_child items, and others follow", function()
    local pool <close> = pools.new("process",
      { workers = 3, max_tasks_per_child = 10 })
    local before, answers = {}, {}
    for i = 1, 100 do answers[i] = pool:apply_async(square, { i }) end
    for i = 1, 100 do assert.equal(i * i, answers[i]:get()) end
    for _ = 1, 100 do
      local id = pool:apply(pid)
      before[id] = (before[id] or 0) + 1
    end
    local n = 0
    for _, count in pairs(before) do
      assert.is_true(count <= 10)
      n = n + 1
    end
    assert.is_true(n >= 10)
  end)

  it("that are used up in the last items do not keep it from ending",
    function()
      local pool = pools.new("process",
        { workers = 3, max_tasks_per_child = 1 })
      local answers = {}
      for i = 1, 6 do answers[i] = pool:apply_async(square, { i }) end
      pool:close()
      pool:join()
      for i = 1, 6 do assert.equal(i * i, answers[i]:get()) end
    end)

  it("run the initializer once each", function()
    local count = pools.signal()
    local pool <close> = pools.new("process", { workers = 3,
      initializer = function(c) c:increment() end, initargs = { count } })
    pool:map(square, numbers(30))
    pools.await(count, 3)
    assert.equal(3, count:value())
  end)
end)

describe("the shared pool of processes", function()
  local inherits = pools.start_method == "spawn" and pending or it

  inherits("is one, and a new one inherits what the script has by then", function()
    local pool = tm.process_pool()
    assert.equal(pool, tm.process_pool())
    assert.equal(25, pool:apply(square, { 5 }))
    package.loaded["spec.made.later"] = { string.rep("x", 3) }
    local other <close> = tm.process_pool(true)
    assert.are_not.equal(pool, other)
    assert.equal("xxx", other:apply(function()
      return table.concat(require "spec.made.later")
    end))
    package.loaded["spec.made.later"] = nil
  end)
end)
