-- Stored attributes between a script and its workers. Tasks here name no
-- globals: busted gives specs an environment of their own.

local tm = require "tidemill"
local core = require "tidemill.core"
local Grid = require "spec.support.stored_class"

local has_middleclass, middleclass = pcall(require, "middleclass")
if not has_middleclass then
  middleclass = require "spec.support.instance_dict"
end
local pl_class = require "pl.class"

local collectgarbage, pcall, rawget = collectgarbage, pcall, rawget
local setmetatable, tostring = setmetatable, tostring

local function collect()
  collectgarbage()
  collectgarbage()
end

local function new_class()
  local C = {}
  C.__index = C
  function C.new(a, b)
    local self = setmetatable({ plain = "p" }, C)
    self.a, self.b = a, b
    return self
  end
  function C:get_b() return self.b end
  return tm.glob_store_attributes("a", "b")(C)
end

describe("an instance with stored attributes", function()
  local pool

  before_each(function() pool = tm.Pool { kind = "thread", workers = 2 } end)

  after_each(function()
    pool:terminate()
    pool:join()
  end)

  it("is read in workers, as an upvalue and as an item", function()
    local d = new_class().new({ 10, 20, 30 }, "b")
    local results = pool:map(function(i)
      return d.a[i] .. d:get_b() .. d.plain
    end, { 1, 2, 3 })
    assert.same({ "10bp", "20bp", "30bp", n = 3 }, results)
    results = pool:map(function(x) return x:get_b() end, { d, d })
    assert.same({ "b", "b", n = 2 }, results)
  end)

  it("carries keys, not the attributes", function()
    local d = new_class().new({ 10 }, "b")
    local fields, value = pool:apply(function(x)
      return rawget(x, "a") == nil and rawget(x, "b") == nil, x.a[1]
    end, { d })
    assert.is_true(fields)
    assert.equal(10, value)
  end)

  it("has the same copy of an object wherever a worker meets it", function()
    local mesh = {}
    local C = new_class()
    local d, e = C.new(mesh, 1), C.new(mesh, 2)
    assert.equal(d.a, e.a)
    assert.is_true(pool:apply(function(x, y)
      return x.a == x.a and x.b ~= y.b
    end, { d, e }))
  end)

  it("carries keys too when its fields came before its class", function()
    local C = new_class()
    local d = setmetatable({ a = { 10 } }, C)
    local field, value = pool:apply(function(x)
      return rawget(x, "a") == nil, x.a[1]
    end, { d })
    assert.is_true(field)
    assert.equal(10, value)
    assert.is_nil(rawget(d, "a"))
    assert.same({ 10 }, d.a)
  end)

  it("publishes an attribute when it is assigned", function()
    local d = new_class().new({ 1 }, "b")
    local read = function() return d.a[1] end
    assert.equal(1, pool:apply(read))
    d.a[1] = 2
    assert.equal(2, d.a[1])
    assert.equal(1, pool:apply(read))
    d.a = d.a
    assert.equal(2, pool:apply(read))
    d.a = { 3 }
    assert.equal(3, pool:apply(read))
  end)

  it("publishes to a copy that a task keeps", function()
    local d = new_class().new({ 1 }, "b")
    local read = tm.task("read", function() return d.a[1] end)
    assert.same({ 1, 1, 1, 1, n = 4 }, pool:map(read, { 1, 2, 3, 4 }))
    d.a = { 2 }
    assert.same({ 2, 2, 2, 2, n = 4 }, pool:map(read, { 1, 2, 3, 4 }))
  end)

  it("is a worker's own where a worker assigns", function()
    local d = new_class().new({ 1 }, "b")
    local seen = pool:apply(function()
      d.a, d.b = { 2 }, nil
      return d.a[1], d.b
    end)
    assert.equal(2, seen)
    assert.same({ 1 }, d.a)
    assert.equal("b", d.b)
  end)

  it("comes back from a worker that changed or made it", function()
    local C = new_class()
    local d = C.new({ 1 }, "b")
    local back = pool:apply(function(x)
      x.a = { 2 }
      return x
    end, { d })
    assert.equal(C, getmetatable(back))
    assert.same({ { 2 }, "b", { 1 } }, { back.a, back.b, d.a })
    local made = pool:map(function(i) return C.new({ i }, i) end, { 1, 2 })
    assert.same({ { 1 }, { 2 } }, { made[1].a, made[2].a })
    assert.is_nil(rawget(made[1], "a"))
    made[1].a = { 3 }
    assert.same({ { 3 }, { 2 } }, { made[1].a, made[2].a })
  end)

  it("may be of a class that workers load by themselves", function()
    local grid = Grid.new { 10, 20 }
    assert.same({ 10, 20, n = 2 }, pool:map(function(i)
      return grid.cells[i]
    end, { 1, 2 }))
    assert.equal(20, pool:apply(Grid.cell, { grid, 2 }))
  end)

  it("may be of a subclass", function()
    local Dad = new_class()
    local Son = setmetatable({}, { __index = Dad })
    Son.__index = Son
    tm.glob_store_attributes("c")(Son)
    local s = setmetatable(Dad.new(1, 2), Son)
    s.c = 3
    local fields, sum = pool:apply(function(x)
      return rawget(x, "c") == nil, x.a + x:get_b() + x.c
    end, { s })
    assert.is_true(fields)
    assert.equal(6, sum)
  end)

  it("may be of a class library", function()
    local D = tm.glob_store_attributes("a")(middleclass("D"))
    function D:initialize(a) self.a = a end
    function D:get_a() return self.a end
    local E = middleclass("E", D)
    local P = tm.glob_store_attributes("a")(pl_class())
    function P:_init(a) self.a = a end
    function P:get_a() return self.a end
    local Q = pl_class(P)
    for _, class in ipairs { D, E, P, Q } do
      local d = class { 7 }
      local field, value, back = pool:apply(function(x)
        return rawget(x, "a") == nil, x:get_a()[1], x
      end, { d })
      assert.is_true(field)
      assert.equal(7, value)
      assert.equal(getmetatable(d), getmetatable(back))
      assert.same({ 7 }, back.a)
    end
    assert.is_true(pool:apply(function(x) return x:isInstanceOf(D) end,
                              { E { 1 } }))
    assert.is_true(pool:apply(function(x) return x:is_a(P) end, { Q { 1 } }))
  end)

  it("may be an attribute of another", function()
    local C = new_class()
    local d = C.new(Grid.new { 10, 20 }, "b")
    assert.same({ 10, 20, n = 2 }, pool:map(function(i)
      return d.a:cell(i)
    end, { 1, 2 }))
    local made = pool:apply(function() return C.new(Grid.new { 30 }, "b") end)
    pool:close()
    pool:join()
    assert.equal(30, made.a:cell(1))
  end)

  it("keeps for its own state what cannot travel", function()
    local thread = coroutine.create(print)
    local d = new_class().new(thread, "b")
    assert.equal(thread, d.a)
    local ok, b, e = pool:apply(function()
      local fine, message = pcall(function() return d.a end)
      return fine, d.b, tostring(message)
    end)
    assert.is_false(ok)
    assert.equal("b", b)
    assert.match("coroutine", e)
  end)

  it("is the same to a FakePool", function()
    local d = new_class().new({ 1 }, "b")
    local fake = tm.FakePool()
    assert.same({ 1, n = 1 }, fake:map(function(i) return d.a[i] end, { 1 }))
  end)
end)

describe("the keys of instances", function()
  local before

  before_each(function()
    collect()
    before = core.store_count()
  end)

  local function count()
    collect()
    return core.store_count() - before
  end

  it("go with the last instance of a state", function()
    local C = new_class()
    local held = { C.new({}, {}), C.new({}, {}) }
    assert.equal(4, count())
    held[2].b = nil
    assert.equal(3, count())
    held[1] = C.new({}, {})
    assert.equal(3, count())
    held[1], held[2] = nil, nil
    assert.equal(0, count())
    assert.is_nil(next(held))
  end)

  it("go with objects that refer back to their instance", function()
    local C, objects = new_class(), setmetatable({}, { __mode = "k" })
    for i = 1, 3 do
      local d = C.new({}, i)
      d.a = { parent = d }
      objects[d.a] = true
    end
    assert.equal(0, count())
    assert.is_nil(next(objects))
  end)

  it("wait for a finaliser that reads", function()
    local C, read = new_class(), {}
    C.__gc = function(self) read[#read + 1] = self.b end
    for i = 1, 3 do C.new({}, i) end
    assert.equal(0, count())
    table.sort(read)
    assert.same({ 1, 2, 3 }, read)
  end)

  it("are counted while in flight and in workers", function()
    local pool = tm.Pool { kind = "thread", workers = 1 }
    local C = new_class()
    local result = pool:map_async(function(x) return x.a[1] end,
                                  { C.new({ 5 }, 1), C.new({ 6 }, 2) })
    collect()
    assert.same({ 5, 6, n = 2 }, result:get())
    result = nil
    local keep = tm.task("keep", function(x)
      C.kept = x or C.kept
      return C.kept.a[1]
    end)
    assert.equal(7, pool:apply(keep, { C.new({ 7 }, 3) }))
    collect()
    assert.equal(7, pool:apply(keep))
    pool:close()
    pool:join()
    keep = nil
    assert.equal(0, count())
    assert.is_nil(result or keep)
  end)

  it("go when a worker collects what it was sent, or made", function()
    local pool = tm.Pool { kind = "thread", workers = 1 }
    local C = new_class()
    local made = pool:map(function(i)
      C.new({}, {})
      return C.new({ i }, i)
    end, { 1, 2 })
    pool:map(function(x) return x.b end, made)
    pool:apply(collect)
    assert.equal(4, count())
    made = nil
    pool:apply(collect)
    assert.equal(0, count())
    assert.is_nil(made)
    pool:close()
    pool:join()
  end)
end)
