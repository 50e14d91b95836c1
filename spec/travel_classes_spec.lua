-- Classes and their instances, in workers and back.

local tm = require "tidemill"
local pl_class = require "pl.class"

local has_middleclass, middleclass = pcall(require, "middleclass")
if not has_middleclass then
  middleclass = require "spec.support.instance_dict"
end

-- Tasks here name no globals: busted gives specs an environment of their own.
local getmetatable, setmetatable = getmetatable, setmetatable
local collectgarbage, rawequal, tostring = collectgarbage, rawequal, tostring

local pool

setup(function() pool = tm.Pool { kind = "thread", workers = 1 } end)
teardown(function()
  pool:close()
  pool:join()
end)

local function new_point()
  local Point = {}
  Point.__index = Point
  function Point.new(x) return setmetatable({ x = x }, Point) end
  function Point:double() return 2 * self.x end
  return Point
end

describe("an instance of a plain class", function()
  it("has its methods in a worker, and its class back home", function()
    local Point = new_point()
    local double, back = pool:apply(function(p)
      p.x = p.x + 1
      return p:double(), p
    end, { Point.new(3) })
    assert.equal(8, double)
    assert.equal(Point, getmetatable(back))
    assert.equal(4, back.x)
  end)

  it("may be made in a worker", function()
    local Point = new_point()
    local list = pool:map(function(i) return Point.new(i) end, { 1, 2, 3 })
    for i, p in ipairs(list) do
      assert.equal(Point, getmetatable(p))
      assert.equal(2 * i, p:double())
    end
  end)

  it("is of the same class across items, arguments and upvalues", function()
    local Point = new_point()
    local upvalue = Point.new(0)
    local function check(p)
      local mt = getmetatable(p)
      return rawequal(mt, Point) and rawequal(mt, getmetatable(upvalue))
        and rawequal(mt, p.class or mt)
    end
    local points = {}
    for i = 1, 10 do points[i] = Point.new(i) end
    points[5].class = Point
    for _, same in ipairs(pool:map(check, points)) do assert.is_true(same) end
    for _, same in pool:imap(check, points) do assert.is_true(same) end
  end)

  it("is of the same class across jobs, which a worker keeps", function()
    local Point = new_point()
    local keep = tm.task("keep", function(p)
      local before = Point.kept
      Point.kept = p
      collectgarbage()
      return before ~= nil and rawequal(getmetatable(before), getmetatable(p))
    end)
    assert.is_false(pool:apply(keep, { Point.new(1) }))
    assert.is_true(pool:apply(keep, { Point.new(2) }))
    assert.is_nil(rawget(Point, "kept"))
  end)

  it("knows methods that were added, changed or taken away", function()
    local Point = new_point()
    local p = Point.new(3)
    assert.equal(6, pool:apply(function(q) return q:double() end, { p }))
    function Point:triple() return 3 * self.x end
    function Point:double() return "two of " .. self.x end
    assert.same({ 9, "two of 3" }, { pool:apply(function(q)
      return q:triple(), q:double()
    end, { p }) })
    Point.double = nil
    assert.is_nil(pool:apply(function(q) return q.double end, { p }))
    assert.is_nil(pool:apply(function() return Point.double end))
  end)

  it("has metamethods", function()
    local V = {}
    V.__index = V
    function V.__eq(a, b) return a.x == b.x end
    function V.__add(a, b) return setmetatable({ x = a.x + b.x }, V) end
    function V.__tostring(v) return "V" .. v.x end
    function V.__lt(a, b) return a.x < b.x end
    function V.__len(v) return v.x end
    function V.__call(v, y) return v.x * y end
    function V.__close(v) v.log[1] = "closed" end
    local function v(x) return setmetatable({ x = x, log = {} }, V) end
    local sum, text, equal, less, len, called, log = pool:apply(
      function(a, b)
        do local _ <close> = a end
        return a + b, tostring(a), a == b, a < b, #a, a(10), a.log[1]
      end, { v(1), v(2) })
    assert.equal(v(3), sum)
    assert.equal(V, getmetatable(sum))
    assert.same({ "V1", false, true, 1, 10, "closed" },
                { text, equal, less, len, called, log })
  end)

  it("that can be called is still an instance", function()
    local F = { __call = function(self, x) return self.k * x end }
    F.__index = F
    local f = setmetatable({ k = 2 }, F)
    local y, back = pool:apply(function(g)
      g.k = 5
      return g(3), g
    end, { f })
    assert.equal(15, y)
    assert.equal(2, f.k)
    assert.equal(5, back.k)
    assert.equal(F, getmetatable(back))
  end)

  it("is finalised where it is, by its class's __gc", function()
    local C = { log = {} }
    C.__index = C
    function C.__gc(o) C.log[#C.log + 1] = o.x end
    local log = tm.task("log", function(x)
      if x then
        x = nil -- luacheck: ignore 311
      end
      collectgarbage()
      collectgarbage()
      return C.log
    end)
    local made = setmetatable({ x = 1 }, C)
    pool:apply(log, { made })
    assert.same({ 1 }, pool:apply(log))
    assert.same({}, C.log)
    assert.equal(1, made.x)
  end)

  it("comes back when the script has dropped its class meanwhile", function()
    local result
    do
      local Point = new_point()
      local items = { Point.new(1), Point.new(2) }
      result = pool:map_async(function(p) return p end, items)
    end
    collectgarbage()
    collectgarbage()
    local list = result:get()
    assert.equal(4, list[2]:double())
    assert.equal(getmetatable(list[1]), getmetatable(list[2]))
  end)

  it("may be of a subclass", function()
    local Point = new_point()
    local Sub = setmetatable({}, { __index = Point })
    Sub.__index = Sub
    function Sub:quadruple() return 2 * self:double() end
    local s = setmetatable({ x = 2 }, Sub)
    local same, q, back = pool:apply(function(o)
      return rawequal(getmetatable(getmetatable(o)).__index, Point),
        o:quadruple(), o
    end, { s })
    assert.is_true(same)
    assert.equal(8, q)
    assert.equal(Sub, getmetatable(back))
  end)

  it("may be the prototype of others", function()
    local A = { n = 1 }
    function A:new(o)
      self.__index = self
      return setmetatable(o or {}, self)
    end
    function A:get() return self.n end
    local b = A:new { n = 2 }
    local c = b:new()
    local n, proto, back = pool:apply(function(x)
      return x:get(), rawequal(getmetatable(x), b), x
    end, { c })
    assert.equal(2, n)
    assert.is_true(proto)
    assert.equal(b, getmetatable(back))
  end)
end)

describe("a class that a worker made", function()
  it("comes back whole, and is one class", function()
    local x, y = pool:apply(function()
      local C = {}
      C.__index = C
      function C:twice() return 2 * self.v end
      return setmetatable({ v = 1 }, C), setmetatable({ v = 2 }, C)
    end)
    assert.equal(getmetatable(x), getmetatable(y))
    assert.equal(4, y:twice())
  end)

  it("is the same when it goes there and back again", function()
    local make = tm.task("make", function(o)
      if o then return o.twice == o.twice and o, o.class end
      local C = {}
      C.__index = C
      C.class = C
      function C:twice() return 2 * self.v end
      return setmetatable({ v = 1 }, C)
    end)
    local x = pool:apply(make)
    local C = getmetatable(x)
    assert.equal(C, C.class)
    local back, class = pool:apply(make, { x })
    assert.equal(C, getmetatable(back))
    assert.equal(C, class)
  end)

  it("may inherit from the script's, and share with it", function()
    local Point = new_point()
    Point.registry = {}
    local x = pool:apply(function()
      local Sub = setmetatable({ registry = Point.registry },
                               { __index = Point })
      Sub.__index = Sub
      function Sub:ten() return 10 * self.x end
      return setmetatable({ x = 3 }, Sub)
    end)
    assert.same({ 6, 30 }, { x:double(), x:ten() })
    assert.equal(Point, getmetatable(getmetatable(x)).__index)
  end)

  it("may be one for each item", function()
    local list = pool:map(function(i)
      local C = { __index = { i = i } }
      return setmetatable({}, C)
    end, { 1, 2, 3, 4 })
    for i, o in ipairs(list) do assert.equal(i, o.i) end
  end)
end)

describe("classes that refer to each other", function()
  it("and to their instances travel whole", function()
    local A, B = new_point(), new_point()
    A.other, B.other = B, A
    A.default, B.default = A.new(1), B.new(2)
    A.list = { A.default, B.default }
    local a = A.new(5)
    assert.is_true(pool:apply(function(x)
      return rawequal(x.other.other, getmetatable(x))
        and rawequal(getmetatable(x.default), getmetatable(x))
        and rawequal(x.list[2], x.other.default)
        and x.list[2]:double() == 4
    end, { a }))
    assert.is_true(pool:apply(function()
      return rawequal(A.list[1], A.default) and A.list[1]:double() == 2
    end))
  end)

  it("share upvalues with the task", function()
    local n = 0
    local C = {}
    C.__index = C
    function C.up() n = n + 1 return n end
    local function f()
      C.up()
      return C.up(), n
    end
    for _ = 1, 2 do
      local up, seen = pool:apply(f)
      assert.equal(2, up)
      assert.equal(2, seen)
    end
    assert.equal(0, n)
  end)
end)

describe("a class library's class", function()
  local function check(Base, Sub, is_a)
    local s = Sub(3)
    local fine, value, back, class = pool:apply(function(o)
      return o[is_a](o, Base) and o[is_a](o, Sub)
        and not Base(1)[is_a](Base(1), Sub), o:get(), o, Sub
    end, { s })
    assert.is_true(fine)
    assert.equal(30, value)
    assert.equal(Sub, class)
    assert.equal(getmetatable(s), getmetatable(back))
    assert.is_true(back[is_a](back, Base))
    local made = pool:map(function(i) return Sub(i) end, { 1, 2 })
    assert.equal(getmetatable(s), getmetatable(made[2]))
    assert.is_true(made[2][is_a](made[2], Sub))
    function Sub:later() return "later" .. self.x end
    assert.equal("later3", pool:apply(function(o) return o:later() end,
                                      { s }))
    assert.equal("later1", pool:apply(function() return Sub(1):later() end))
  end

  it("may be Penlight's", function()
    local Base = pl_class()
    function Base:_init(x) self.x = x end
    function Base:get() return self.x end
    local Sub = pl_class(Base)
    function Sub:get() return 10 * Base.get(self) end
    check(Base, Sub, "is_a")
  end)

  it("may be of the kind of middleclass", function()
    local Base = middleclass("Base")
    function Base:initialize(x) self.x = x end
    function Base:get() return self.x end
    local Sub = middleclass("Sub", Base)
    function Sub:get() return 10 * Base.get(self) end
    check(Base, Sub, "isInstanceOf")
  end)

  it("may be a Penlight container's", function()
    local List = require "pl.List"
    local back = pool:apply(function(l) return l:map(function(x)
      return x * 2
    end) end, { List { 1, 2, 3 } })
    assert.equal(List, getmetatable(back))
    assert.same({ 2, 4, 6 }, { back[1], back[2], back[3] })
  end)
end)
