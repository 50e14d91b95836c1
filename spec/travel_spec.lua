-- Values through the codec: what comes out is what went in.

local core = require "tidemill.core"
local tm = require "tidemill"

-- Tasks here name no globals: busted gives specs an environment of their own.
local getmetatable, globals = getmetatable, package.loaded._G

local function copy(...)
  return core.unpack(core.pack(...))
end

--- A number as its bits, so that -0.0 and 0.0 differ.
local function bits(x)
  return math.type(x) .. string.pack(math.type(x) == "float" and "n" or "j", x)
end

--- { { ... { last } } }, n deep.
local function chain(n, last)
  local t = last
  for _ = 1, n do t = { t } end
  return t
end

local function depth(t)
  local n = 0
  while type(t) == "table" do n, t = n + 1, t[1] end
  return n, t
end

describe("plain values", function()
  it("keep their type and value", function()
    assert.is_nil(copy(nil))
    assert.is_true(copy(true))
    assert.is_false(copy(false))
    for _, x in ipairs { 0, 1, -1, 0.0, -0.0, 1.5, 2^53, 2^63, 1e308, 5e-324,
                         math.huge, -math.huge, math.maxinteger,
                         math.mininteger, 0.1 + 0.2 } do
      assert.equal(bits(x), bits(copy(x)))
    end
  end)

  it("include nan", function()
    local x = copy(0 / 0)
    assert.equal("float", math.type(x))
    assert.is_true(x ~= x)
    local t = copy { 1.5, 0 / 0, 2.5 }
    assert.is_true(t[2] ~= t[2])
    assert.equal(2.5, t[3])
  end)

  it("include strings of any bytes and length", function()
    for _, n in ipairs { 0, 1, 40, 41, 254, 255, 256, 257, 70000 } do
      local s = ("\0\255\27Lua"):rep(n):sub(1, n)
      assert.equal(s, copy(s))
    end
    local every = {}
    for i = 0, 255 do every[#every + 1] = string.char(i) end
    assert.equal(table.concat(every), copy(table.concat(every)))
  end)

  it("are written once when they are long", function()
    local s = ("x"):rep(100000)
    assert.is_true(#core.pack { s, s, { s }, k = s } < 101000)
    assert.same({ s, s, { s }, k = s }, copy { s, s, { s }, k = s })
  end)
end)

describe("tables", function()
  it("keep arrays of one kind and of several", function()
    for _, t in ipairs {
      {}, { 1, 2, 3 }, { 1.5, 2.5 }, { 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5 },
      { 1, "a", 2.5, true, { 1 }, false }, { "a", "b" }, { 0.0, 0, -0.0 },
    } do
      local back = copy(t)
      assert.equal(#t, #back)
      for i, v in ipairs(t) do
        if math.type(v) then
          assert.equal(bits(v), bits(back[i]))
        else
          assert.same(v, back[i])
        end
      end
    end
  end)

  it("keep keys of every kind", function()
    local key, f = { 1 }, function() return 7 end
    local t = {
      [1] = "one", [3] = "three", [-1] = "less", [0] = "zero",
      [2^53 + 0.5] = "big", [1.5] = "float", [math.huge] = "inf",
      [-math.huge] = "-inf", [math.mininteger] = "min", [true] = "yes",
      [false] = "no", [""] = "empty", ["a\0b"] = "zero inside",
      [("k"):rep(300)] = "long", [key] = key, [f] = 1,
    }
    local back = copy { t = t, key = key, f = f }
    assert.equal(back.key, back.t[back.key])
    assert.equal(1, back.t[back.f])
    assert.equal(7, back.f())
    t[key], t[f] = nil, nil
    back.t[back.key], back.t[back.f] = nil, nil
    assert.same(t, back.t)
    assert.equal("integer", math.type(next(copy { [3] = 1 })))
  end)

  it("keep an integer and the string of it apart", function()
    local back = copy { [1] = "i", ["1"] = "s", [2] = "j", ["2"] = "t" }
    assert.same({ "i", "s", "j", "t" },
                { back[1], back["1"], back[2], back["2"] })
  end)

  it("keep holes, wherever they are", function()
    local t = { 1, nil, 3, nil, nil, 6, n = 6 }
    assert.same(t, copy(t))
    local emptied = { 1, 2, 3, 4, 5, 6, 7, 8 }
    for i = 1, 7 do emptied[i] = nil end
    assert.same({ [8] = 8 }, copy(emptied))
    local backwards = {}
    for i = 100, 1, -1 do backwards[i] = i end
    assert.same(backwards, copy(backwards))
    assert.equal(100, #copy(backwards))
    local mixed = { "x" }
    for i = 1000, 1, -3 do mixed[i] = i; mixed["k" .. i] = i end
    assert.same(mixed, copy(mixed))
  end)

  it("keep n", function()
    local t = table.pack(nil, nil, nil)
    assert.same({ n = 3 }, copy(t))
    assert.same({ 1, nil, 3, n = 4 }, copy { 1, nil, 3, nil, n = 4 })
  end)

  it("keep cycles and what is shared", function()
    local a, b = {}, {}
    a.a, a.b, b.a, b[a], a[b] = a, b, a, b, a
    local c = copy(a)
    assert.equal(c, c.a)
    assert.equal(c, c.b.a)
    assert.equal(c.b, c.b[c])
    assert.equal(c, c[c.b])
    assert.are_not.equal(a, c)
    local shared = { {}, {} }
    shared[3] = shared[1]
    local back = copy(shared)
    assert.equal(back[1], back[3])
    assert.are_not.equal(back[1], back[2])
  end)

  it("share across arguments but not across items", function()
    local pool <close> = tm.Pool { kind = "thread", workers = 1 }
    local t = {}
    assert.is_true(pool:apply(function(x, y) return x == y end, { t, t }))
    local same = pool:map(function(x)
      local before = globals.seen_before
      globals.seen_before = x
      return before == x
    end, { t, t })
    assert.same({ false, false, n = 2 }, same)
  end)

  it("may be nested deeply", function()
    for _, n in ipairs { 158, 159, 160, 161, 162, 319, 320, 321, 100000 } do
      local d, last = depth(copy(chain(n, "end")))
      assert.equal(n, d)
      assert.equal("end", last)
    end
  end)

  it("may be linked lists with back references", function()
    local first = { id = 1 }
    local last = first
    for i = 2, 20000 do
      local node = { id = i, before = last, first = first }
      last.after, last = node, node
    end
    local node, n = copy(first), 0
    local head = node
    while node do
      n = n + 1
      assert(node.id == n and (n == 1 or node.first == head))
      assert(not node.after or node.after.before == node)
      node = node.after
    end
    assert.equal(20000, n)
  end)

  it("may be deep in their keys", function()
    local t = {}
    for _ = 1, 3000 do t = { [t] = true } end
    local back, n = copy(t), 0
    while next(back) do back, n = next(back), n + 1 end
    assert.equal(3000, n)
  end)

  it("may be deep in workers too, there and back", function()
    local pool <close> = tm.Pool { kind = "thread", workers = 1 }
    local back = pool:apply(function(t) return { t } end, { chain(100000) })
    assert.equal(100001, (depth(back)))
  end)

  it("may be wide", function()
    local t = {}
    for i = 1, 50000 do t[i], t["k" .. i] = i, { i } end
    local back = copy(t)
    assert.equal(50000, #back)
    local n = 0
    for k, v in pairs(back) do
      n = n + 1
      assert(v == k or k == "k" .. v[1])
    end
    assert.equal(100000, n)
  end)

  it("take bytes in proportion", function()
    local function size(n)
      local t = {}
      for i = 1, n do t[i] = { i, i } end
      return #core.pack(t)
    end
    local small, large = size(1000), size(10000)
    assert.is_true(large < 10.1 * small and large > 9.9 * small)
    local floats = {}
    for i = 1, 1000 do floats[i] = i + 0.5 end
    assert.is_true(#core.pack(floats) < 8 * 1000 + 40)
    local deep = #core.pack(chain(10000))
    assert.is_true(deep < 11 * #core.pack(chain(1000)))
  end)

  it("are copies", function()
    local pool <close> = tm.Pool { kind = "thread", workers = 1 }
    local t = { 1, { 2 } }
    local back = pool:apply(function(x)
      x[1], x[2][1], x.new = 10, 20, 30
      return x
    end, { t })
    assert.same({ 1, { 2 } }, t)
    assert.same({ 10, { 20 }, new = 30 }, back)
  end)
end)

describe("metatables", function()
  it("come along", function()
    local weak = copy(setmetatable({}, { __mode = "k" }))
    assert.equal("k", getmetatable(weak).__mode)
    local double = copy(setmetatable({}, {
      __index = function(_, k) return k * 2 end,
      __call = function(_, x) return x + 1 end,
      __len = function() return 42 end,
    }))
    assert.equal(14, double[7])
    assert.equal(8, double(7))
    assert.equal(42, #double)
  end)

  it("are not asked by the codec", function()
    local function never() error("asked") end
    local mt = { __index = never, __newindex = never, __len = never,
                 __pairs = never, __eq = never }
    local t = setmetatable({ 1, 2, k = 3 }, mt)
    local back = copy(t)
    assert.same({ 1, 2, 3 }, { rawget(back, 1), rawget(back, 2),
                               rawget(back, "k") })
  end)

  it("that are protected come along too", function()
    local pool <close> = tm.Pool { kind = "thread", workers = 1 }
    local t = setmetatable({}, { __metatable = "mine",
                                 __index = { x = 5 } })
    local x, mt = pool:apply(function(o) return o.x, getmetatable(o) end,
                             { t })
    assert.equal(5, x)
    assert.equal("mine", mt)
  end)

  it("are one for the objects that share it, also deep down", function()
    local pool <close> = tm.Pool { kind = "thread", workers = 1 }
    local mt = { __index = { x = 1 } }
    local list = {}
    for i = 1, 300 do
      list = setmetatable({ list, i = i }, mt)
    end
    assert.is_true(pool:apply(function(t)
      local first = getmetatable(t)
      while t[1] do
        if getmetatable(t) ~= first or t.x ~= 1 then return false end
        t = t[1]
      end
      return true
    end, { list }))
  end)

  it("may be many", function()
    local n, list = 0, {}
    local function count() n = n + 1 return n end
    for i = 1, 2000 do
      list[i] = setmetatable({ i }, { __index = count, own = i })
    end
    local pool <close> = tm.Pool { kind = "thread", workers = 1 }
    local sum, calls = pool:apply(function(t)
      local s = 0
      for i = 1, #t do s = s + getmetatable(t[i]).own end
      return s, t[1].a + t[2].b
    end, { list })
    assert.equal(2000 * 2001 // 2, sum)
    assert.equal(3, calls)
    assert.equal(0, n)
  end)
end)

describe("the table of globals", function()
  local pool

  setup(function() pool = tm.Pool { kind = "thread", workers = 1 } end)
  teardown(function() pool:close() pool:join() end)

  it("is the worker's own", function()
    assert.is_true(pool:apply(load(
      "local t = ... return t == _G and rawequal(t.string, string)",
      "=chunk", "t", globals), { globals }))
    assert.equal(globals, pool:apply(load("return _G", "=c", "t", globals)))
    assert.equal(globals, copy { g = globals }.g)
  end)
end)
