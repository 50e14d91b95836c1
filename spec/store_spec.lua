-- The global store: keys, objects, versions.

local core = require "tidemill.core"
local tm = require "tidemill"

local globals = package.loaded._G
-- Tasks here name no globals: busted gives specs an environment of their own.
local read, update, remove = tm.glob_read, tm.glob_update, tm.glob_remove
local store, pcall, tostring, collectgarbage = tm.glob_store, pcall, tostring,
  collectgarbage
local rawequal, coroutine = rawequal, coroutine

local pool, before

setup(function() pool = tm.Pool { kind = "thread", workers = 2 } end)
teardown(function()
  pool:close()
  pool:join()
end)

local function collect()
  collectgarbage()
  collectgarbage()
end

local met = tm.Counter(1000000)

--- Both workers run f: items wait for each other through a counter.
local function in_all(f, ...)
  local args, all = { n = select("#", ...), ... }, met:value() + 2
  local unpack = table.unpack
  return pool:map(function()
    met:increment()
    while met:value() < all do end -- luacheck: ignore
    return f(unpack(args, 1, args.n))
  end, { 1, 2 }, 1)
end

before_each(function()
  in_all(collect)
  collect()
  before = core.store_count()
end)

local function count()
  collect()
  return core.store_count() - before
end

describe("an object in the store", function()
  it("is that very object at home", function()
    local t = { 1 }
    local key = store(t)
    assert.equal(t, read(key))
    t[2] = 2
    assert.same({ 1, 2 }, read(key))
    remove(key)
  end)

  it("is any value", function()
    for _, v in ipairs { 1, 1.5, "s", true, false, ("x"):rep(1000) } do
      local key = store(v)
      assert.equal(v, read(key))
      assert.equal(v, pool:apply(read, { key }))
      remove(key)
    end
    local key = store(nil)
    assert.is_nil(read(key))
    assert.is_nil(pool:apply(read, { key }))
    remove(key)
  end)

  it("is one copy in a worker, for each version", function()
    local key = store { 1 }
    local keep = tm.task("keep", function(k)
      local kept = globals.tm_test_kept
      globals.tm_test_kept = read(k)
      return kept and rawequal(kept, read(k)), read(k)[1]
    end)
    local one <close> = tm.Pool { kind = "thread", workers = 1 }
    assert.same({ nil, 1 }, { one:apply(keep, { key }) })
    assert.same({ true, 1 }, { one:apply(keep, { key }) })
    collect()
    one:apply(collect)
    assert.same({ true, 1 }, { one:apply(keep, { key }) })
    update(key, { 2 })
    assert.same({ false, 2 }, { one:apply(keep, { key }) })
    assert.same({ true, 2 }, { one:apply(keep, { key }) })
    remove(key)
  end)

  it("is a snapshot: changes in place stay where they are", function()
    local t = { 1 }
    local key = store(t)
    t[1] = 2
    assert.same({ 1, 1, n = 2 }, in_all(function() return read(key)[1] end))
    pool:apply(function() read(key)[1] = 3 end)
    assert.equal(2, read(key)[1])
    update(key, t)
    assert.same({ 2, 2, n = 2 }, in_all(function() return read(key)[1] end))
    assert.equal(t, read(key))
    remove(key)
  end)

  it("that a worker updated is seen by the others and the script", function()
    local key = store { 1 }
    pool:apply(function() update(key, { 2 }) end)
    assert.same({ 2 }, read(key))
    assert.equal(read(key), read(key))
    assert.same({ 2, 2, n = 2 }, in_all(function() return read(key)[1] end))
    remove(key)
  end)

  it("is read in full, whoever writes meanwhile", function()
    local key = store { 0, 0 }
    local bad = pool:map(function(i)
      for n = 1, 200 do
        if i == 1 then update(key, { n, n }) end
        local t = read(key)
        if t[1] ~= t[2] then return true end
      end
      return false
    end, { 1, 2 }, 1)
    assert.same({ false, false, n = 2 }, bad)
    assert.same({ 200, 200 }, read(key))
    remove(key)
  end)

  it("that two update is the last one's, for both", function()
    local key = store(0)
    for _ = 1, 20 do
      in_all(function() update(key, {}) return true end)
      update(key, 7)
      assert.same({ 7, 7, n = 2 }, in_all(read, key))
    end
    remove(key)
  end)

  it("may be stored by a worker", function()
    local key = pool:apply(function() return store { 5 } end)
    assert.same({ 5 }, read(key))
    assert.same({ 5, 5, n = 2 }, in_all(function() return read(key)[1] end))
    assert.equal(1, count())
  end)

  it("may hold keys, also its own", function()
    local a = store { 1 }
    local b = store { a }
    update(a, { b, a, 2 })
    assert.equal(2, pool:apply(function()
      return read(read(read(b)[1])[2])[3]
    end))
    remove(a)
    remove(b)
    a, b = nil, nil -- luacheck: ignore 311
    in_all(collect)
    assert.equal(0, count())
  end)

  it("may have classes and functions, with their globals", function()
    local C = {}
    C.__index = C
    function C:get() return self.x end
    globals.tm_test_factor = 10
    local key = store {
      o = setmetatable({ x = 4 }, C),
      f = load("return tm_test_factor", "=c", "t", globals),
    }
    local x, factor = pool:apply(function()
      return read(key).o:get(), read(key).f()
    end)
    globals.tm_test_factor = nil
    assert.same({ 4, 10 }, { x, factor })
    remove(key)
  end)

  it("that cannot travel is kept for its own state", function()
    local co = coroutine.create(function() end)
    local t = { log = { co } }
    local key = store(t)
    assert.equal(t, read(key))
    local ok, message = pool:apply(function()
      local fine, e = pcall(read, key)
      return fine, tostring(e)
    end)
    assert.is_false(ok)
    assert.match("the object%.log%[1%] is a coroutine", message)
    update(key, { 1 })
    assert.equal(1, pool:apply(function() return read(key)[1] end))
    update(key, co)
    assert.equal(co, read(key))
    remove(key)
    assert.equal(0, (function() key = nil return count() end)())
  end)
end)

describe("keys", function()
  it("travel in all ways, and equal each other", function()
    local key = store("value")
    local others = { key, k = key, [key] = 1 }
    globals.tm_test_key, globals.tm_test_read = key, read
    local equal, a, b, c, back = pool:apply(function(k)
      return k == key and others[1] == others.k, read(k), read(others[1]),
        others[others.k], k
    end, { key })
    assert.is_true(equal)
    assert.same({ "value", "value", 1 }, { a, b, c })
    assert.equal(key, back)
    assert.equal("value", pool:apply(load(
      "return tm_test_read(tm_test_key)", "=c", "t", globals)))
    globals.tm_test_key, globals.tm_test_read = nil, nil
    assert.equal("value", read(back))
    remove(key)
  end)

  it("are never used again", function()
    local seen = {}
    for _ = 1, 100 do
      local key = store(1)
      local name = tostring(key)
      assert.is_nil(seen[name])
      seen[name] = true
      remove(key)
    end
  end)

  it("that were removed say which they are", function()
    local key = store { 1 }
    local number = tostring(key):match("%d+")
    local copy = core.unpack(core.pack(key))
    assert.same({ 1 }, pool:apply(read, { key }))
    remove(key)
    for _, k in ipairs { key, copy } do
      for _, f in ipairs { read, remove, function(x) update(x, 1) end } do
        assert.error_matches(function() f(k) end,
                             "key " .. number .. " was removed")
      end
    end
    local ok, e = pcall(pool.apply, pool, read, { key })
    assert.is_false(ok)
    assert.match("key " .. number .. " was removed", e.message)
  end)

  it("are checked", function()
    for _, f in ipairs { read, update, remove } do
      assert.error_matches(function() f("x", 1) end,
                           "tidemill.key expected, got string")
      assert.error_matches(function() f(tm.Counter(), 1) end,
                           "tidemill.key expected, got tidemill.counter")
    end
    assert.error_matches(function() store() end, "value expected")
  end)

  it("are removed by who placed them alone", function()
    local key = store("mine")
    pool:apply(function() remove(key) end)
    assert.equal("mine", read(key))
    local theirs = pool:apply(function() return store("theirs") end)
    remove(theirs)
    assert.equal("theirs", read(theirs))
    remove(key)
    key = nil -- luacheck: ignore 311
    assert.equal(1, count())
  end)
end)

describe("what is stored", function()
  it("goes when it is removed", function()
    local keys = {}
    for i = 1, 50 do keys[i] = store { i } end
    assert.equal(50, count())
    in_all(function() return #keys end)
    for _, key in ipairs(keys) do remove(key) end
    assert.equal(0, count())
  end)

  it("stays while it is not, whatever is collected", function()
    local objects = setmetatable({}, { __mode = "v" })
    do
      local t = { 1 }
      objects[1] = t
      objects.key = store(t)
      store(objects.key)
    end
    assert.equal(2, count())
    assert.is_table(objects[1])
  end)

  it("with a counted key goes with the last of its handles", function()
    local key = core.store_counted { 1 }
    local second = core.unpack(core.pack(key))
    assert.equal(read(key), read(second))
    key = nil -- luacheck: ignore 311
    assert.equal(1, count())
    assert.same({ 1 }, read(second))
    assert.same({ 1, 1, n = 2 }, in_all(function()
      return read(second)[1]
    end))
    second = nil -- luacheck: ignore 311
    in_all(collect)
    assert.equal(0, count())
  end)

  it("with a counted key may refer back to it", function()
    local t = {}
    t.key = core.store_counted(t)
    update(t.key, t)
    assert.equal(1, pool:apply(function()
      return read(read(t.key).key) and 1
    end))
    t = nil -- luacheck: ignore 311
    in_all(collect)
    assert.equal(0, count())
  end)

  it("leaves a worker's memory when it is gone", function()
    local one <close> = tm.Pool { kind = "thread", workers = 1 }
    local function memory()
      return one:apply(function()
        collectgarbage()
        collectgarbage()
        return collectgarbage("count")
      end)
    end
    local function round(add)
      local key = add { ("x"):rep(1000000) }
      one:apply(function() return #read(key)[1] end)
      if add == store then remove(key) end
    end
    round(store)
    local start = memory()
    for _, add in ipairs { store, core.store_counted } do
      for _ = 1, 20 do round(add) end
      collect()
    end
    assert.is_true(memory() - start < 5000)
  end)
end)

describe("tasks in the store", function()
  it("go with their last handle, and what they hold", function()
    local held = setmetatable({}, { __mode = "v" })
    for i = 1, 3 do
      local big = { i }
      held[i] = big
      local task = tm.task("t" .. i, function() return big[1] end)
      assert.equal(i, pool:apply(task))
    end
    in_all(collect)
    collect()
    collect()
    assert.equal(0, count())
    assert.is_nil(next(held))
  end)

  it("are themselves when they come back", function()
    local n = 0
    local task = tm.task("count", function() n = n + 1 return n end)
    local back = pool:apply(function(t) return t end, { task })
    assert.equal(task, back)
    back()
    assert.equal(1, n)
  end)
end)
