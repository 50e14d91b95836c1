-- Tables through the codec, however they were made: arrays, records, mixtures.

local core = require "tidemill.core"
local tm = require "tidemill"

-- Tasks here name no globals: busted gives specs an environment of their own.

local function copy(x) return core.unpack(core.pack(x)) end

--- Whether two tables of numbers, strings and such tables hold the same.
local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return math.type(a) == math.type(b) and a == b
  end
  for k, v in pairs(a) do if not same(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end

local function check(t)
  local c = copy(t)
  assert.is_true(same(t, c), "a table came back changed")
  assert.is_true(same(t, copy(c)), "a copied table came back changed")
end

--- Arrays of n made in various ways, so that Lua lays them out in its array
--- part, in its hash part or in both.
local ways = {
  forwards = function(n, x)
    local t = {}
    for i = 1, n do t[i] = x(i) end
    return t
  end,
  backwards = function(n, x)
    local t = {}
    for i = n, 1, -1 do t[i] = x(i) end
    return t
  end,
  after_fields = function(n, x)
    local t = { a = 1, b = 2, c = 3, d = 4, e = 5 }
    t.a, t.b, t.c, t.d = nil, nil, nil, nil
    for i = 1, n do t[i] = x(i) end
    return t
  end,
  popped = function(n, x)
    local t = {}
    for i = 1, 2 * n + 1 do t[i] = x(i) end
    for i = 2 * n + 1, n + 1, -1 do t[i] = nil end
    return t
  end,
  popped_fields = function(n, x)
    local t = { [n + 1] = 1, [n + 2] = 2, x = 1, [n + 3] = 3 }
    for i = 1, n do t[i] = x(i) end
    t[n + 1], t[n + 2], t[n + 3] = nil, nil, nil
    t.last = "last"
    return t
  end,
  packed = function(n, x)
    local t = {}
    for i = 1, n do t[i] = x(i) end
    return table.pack(table.unpack(t))
  end,
  with_holes = function(n, x)
    local t = {}
    for i = 1, n do t[i] = x(i) end
    for i = 1, n, 7 do t[i] = nil end
    return t
  end,
  sparse = function(n, x)
    local t = {}
    for i = 1, n do t[i * i - 1] = x(i) end
    return t
  end,
  like_numbers = function(n, x)
    local t = {}
    for i = 1, n do t[i], t[tostring(i)], t[i + 0.5] = x(i), i, -i end
    t[0], t[-1], t[n + 2] = "zero", "minus one", "beyond"
    return t
  end,
}

local elements = {
  floats = function(i) return i + 0.5 end,
  whole_floats = function(i) return i + 0.0 end,
  large_floats = function(i) return i * 1e300 end,
  integers = function(i) return i end,
  alternating = function(i) return i % 2 == 0 and i or i + 0.5 end,
  runs = function(i) return i % 50 < 25 and i or i + 0.0 end,
  strings = function(i) return "s" .. i end,
  numerals = function(i) return i % 3 == 0 and tostring(i + 0.5) or i + 0.5 end,
  booleans = function(i) return i % 3 == 0 end,
  tables = function(i) return { i, { id = i } } end,
}

describe("tables", function()
  for way, make in pairs(ways) do
    it("made " .. way:gsub("_", " ") .. " keep all their elements", function()
      for _, x in pairs(elements) do
        for _, n in ipairs { 0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 64, 200 } do
          check(make(n, x))
        end
      end
    end)
  end

  it("of any layout keep all their elements", function()
    math.randomseed(6)
    for _ = 1, 300 do
      local t, n = {}, math.random(60)
      for _ = 1, 120 do
        local k = math.random(n)
        t[k] = math.random(4) > 1 and k / 2 or nil
        if math.random(20) == 1 then t["f" .. k] = k end
      end
      check(t)
    end
  end)

  it("are as long as they were", function()
    for _, n in ipairs { 0, 1, 16, 17, 1000 } do
      assert.equal(n, #copy(ways.forwards(n, elements.floats)))
      assert.equal(n, copy(ways.packed(n, elements.floats)).n)
    end
  end)
end)

describe("records", function()
  local function records(n, field)
    local t = {}
    for i = 1, n do
      t[i] = { id = i, name = "n" .. i, xs = { 1, 2, 3 }, [field(i)] = i }
    end
    return t
  end

  it("may have any number of different keys", function()
    for _, different in ipairs { 1, 100, 127, 128, 252, 255, 256, 600 } do
      check(records(1300, function(i) return "f" .. i % different end))
    end
  end)

  it("come after a large dictionary", function()
    local dictionary = {}
    for i = 1, 3000 do dictionary["word" .. i] = i end
    check { dictionary, records(100, tostring), dictionary }
  end)

  it("may have keys that are long, empty or any bytes", function()
    local keys = { "", "\0", "\0\0", ("k"):rep(40), ("k"):rep(41),
                   ("k"):rep(255), ("k"):rep(256), ("k"):rep(3000) }
    local t = {}
    for i = 1, 50 do
      t[i] = {}
      for j, key in ipairs(keys) do t[i][key] = i * j end
    end
    check(t)
  end)

  it("are written with each key spelled out twice at most", function()
    local key = "a_key_of_some_length"
    local t = {}
    for i = 1, 100 do t[i] = { [key] = i } end
    local _, times = core.pack(t):gsub(key, "")
    assert.is_true(times <= 2)
  end)

  it("nested too deeply for one go keep their fields", function()
    local t = { value = 0 }
    for i = 1, 2000 do t = { value = i, next = t, name = "node" } end
    local c = copy(t)
    for i = 2000, 1, -1 do
      assert.is_true(c.value == i and c.name == "node")
      c = c.next
    end
    assert.equal(0, c.value)
  end)

  it("keep their keys when others come and go meanwhile", function()
    local function rebuild(n) return { made = n } end
    local meta = {}
    meta.__tidemill_send = function(o)
      for i = 1, 50 do local _ = { ["gone" .. o.n .. "_" .. i] = i } end
      collectgarbage()
      return rebuild, { ["n" .. o.n] = o.n, n = o.n }
    end
    local t = {}
    for i = 1, 40 do t[i] = setmetatable({ n = i }, meta) end
    local c = copy(t)
    for i = 1, 40 do
      assert.is_true(same({ made = { ["n" .. i] = i, n = i } }, c[i]))
    end
  end)

  it("share keys with what functions and classes bring", function()
    local Point = { kind = "point", weight = 1 }
    Point.__index = Point
    local defaults = { x = 1, y = 2, kind = "default", list = { { x = 3 } } }
    local function f(points)
      local sum = defaults.x + defaults.list[1].x
      for i = 1, #points do
        local p = points[i]
        sum = sum + p.x * p.y * p.weight
      end
      return { x = sum, y = { { x = 1, y = 2 }, { x = 3, y = 4 } } }
    end
    local points = {}
    for i = 1, 20 do points[i] = setmetatable({ x = i, y = 1 }, Point) end
    local pool <close> = tm.Pool { workers = 2 }
    for _ = 1, 4 do
      local r = pool:apply(f, { points })
      assert.is_true(same({ x = 214, y = { { x = 1, y = 2 },
                                           { x = 3, y = 4 } } }, r))
    end
  end)
end)

describe("what cannot travel", function()
  it("is named by its place in an array", function()
    local co = coroutine.create(print)
    for t, path in pairs {
      [{ co }] = "[1]", [{ 1, 2, 3, co }] = "[4]",
      [{ "a", { b = { 1.5, co } } }] = "[2].b[2]",
      [{ 1, 2, x = co }] = ".x", [{ "a", "b", [7] = co }] = "[7]",
      [{ "a", "b", "c", x = 1, { "d", y = { co } } }] = "[4].y[1]",
    } do
      local ok, e = pcall(core.pack, t)
      assert.is_false(ok)
      assert.match("the value" .. path .. " is a coroutine", e.message, 1, true)
    end
    local ok, e = pcall(core.pack, ways.forwards(40, function(i)
      return i < 40 and { i } or co
    end))
    assert.is_false(ok)
    assert.match("the value[40] is a coroutine", e.message, 1, true)
  end)
end)
