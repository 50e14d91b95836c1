-- Arithmetic of whole arrays: each operation, each type, and what it refuses.

local tm = require "tidemill"

local REAL = { "f64", "f32", "i64", "i32", "u8" }
local FLOAT = { "f64", "f32" }
local NAN <const>, INF <const> = 0 / 0, math.huge

local function has(pattern, f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.matches(pattern, err)
end

local function of(dtype, ...) return tm.array({ ... }, dtype) end

describe("of an array,", function()
  it("fill sets every element", function()
    for _, n in ipairs { 0, 1, 2, 3, 1000, 5000 } do
      for _, dtype in ipairs(REAL) do
        local a = tm.array(dtype, n)
        assert.equal(a, a:fill(7))
        assert.equal(7 * n, a:sum())
      end
    end
    local m = tm.array("f64", { 3, 3 })
    m[2]:fill(1)
    assert.same({ { 0, 0, 0 }, { 1, 1, 1 }, { 0, 0, 0 } }, m:totable())
    has("256 does not fit into u8", m.fill, tm.array("u8", 1), 256)
    has("number expected", m.fill, m, "1")
    has("number expected", m.fill, m)
  end)

  it("add adds a number, or an array of its type and shape", function()
    for _, dtype in ipairs(REAL) do
      local a = of(dtype, 1, 2, 3)
      assert.equal(a, a:add(2))
      assert.same({ 3, 4, 5 }, a:totable())
      a:add(of(dtype, 10, 20, 30))
      assert.same({ 13, 24, 35 }, a:totable())
      a:add(a)
      assert.same({ 26, 48, 70 }, a:totable())
    end
    local a = of("f64", 1, 2)
    has("one type and shape %(f64%[2%] and f64%[3%]%)", a.add, a,
      of("f64", 1, 2, 3))
    has("f64%[2%] and i64%[2%]", a.add, a, of("i64", 1, 2))
    has("f64%[2%] and f64%[1x2%]", a.add, a, a:reshape(1, 2))
    has("number or array expected", a.add, a, "1")
    assert.same({ 1, 2 }, a:totable())
  end)

  it("scale multiplies", function()
    for _, dtype in ipairs(REAL) do
      assert.same({ 3, 6, 9 }, of(dtype, 1, 2, 3):scale(3):totable())
    end
    assert.same({ 0.5, 1 }, of("f64", 1, 2):scale(0.5):totable())
    assert.same({ -1, -2 }, of("i32", 1, 2):scale(-1):totable())
    assert.same({ 0, 0 }, of("u8", 0, 0):scale(-5):totable())
    has("i32 takes a whole factor", function() of("i32", 1):scale(0.5) end)
    has("0.5 is not a whole number", function() of("i64", 1):scale(0.5) end)
  end)

  it("an overflow of integers is an error that changes nothing", function()
    local cases = {
      { "u8", 200, 100, 2 }, { "i32", 2147483647, 1, 2 },
      { "i64", math.maxinteger, 1, 2 },
    }
    for _, case in ipairs(cases) do
      local dtype, x, more, factor = table.unpack(case)
      local a = of(dtype, 1, x)
      has("a sum overflows " .. dtype, a.add, a, more)
      has("a sum overflows " .. dtype, a.add, a, of(dtype, 0, more))
      has("a product overflows " .. dtype, a.scale, a, factor)
      assert.same({ 1, x }, a:totable())
    end
    has("the sum overflows i64", function()
      of("i64", math.maxinteger, 1):sum()
    end)
    has("dot product overflows i64", function()
      local a = of("i64", math.maxinteger, 1)
      a:dot(a)
    end)
    assert.equal(2 * 2147483647, of("i32", 2147483647, 2147483647):sum())
  end)

  it("sum, min, max and dot see every element", function()
    for _, dtype in ipairs(REAL) do
      for _, n in ipairs { 1, 7, 8, 9, 100, 255, 256, 257, 1000 } do
        local a = tm.array(dtype, n):fill(2)
        a[1], a[n] = 1, 3
        if n == 1 then a[1] = 3 end
        local sum = n == 1 and 3 or 2 * (n - 2) + 4
        assert.equal(sum, a:sum())
        assert.equal(n == 1 and 3 or 1, a:min())
        assert.equal(3, a:max())
        assert.equal(n == 1 and 9 or 4 * (n - 2) + 10, a:dot(a))
        local float = dtype:sub(1, 1) == "f"
        for _, x in ipairs { a:sum(), a:min(), a:max(), a:dot(a) } do
          assert.equal(float and "float" or "integer", math.type(x))
        end
      end
    end
  end)

  it("of no elements sums are zero and extremes errors", function()
    for _, dtype in ipairs(REAL) do
      local a = tm.array(dtype, 0)
      assert.equal(0, a:sum())
      assert.equal(0, a:dot(a))
      has("min: the array has no elements", a.min, a)
      has("max: the array has no elements", a.max, a)
    end
  end)

  it("the extremes are nan when an element is", function()
    for _, dtype in ipairs(FLOAT) do
      for _, values in ipairs { { NAN, 1, 2 }, { 1, NAN, 2 }, { 1, 2, NAN } } do
        local a = tm.array(values, dtype)
        assert.is_true(a:min() ~= a:min())
        assert.is_true(a:max() ~= a:max())
      end
      local a = of(dtype, -INF, 0, INF)
      assert.equal(-INF, a:min())
      assert.equal(INF, a:max())
    end
  end)

  it("a sum of floats is exact enough, and the same each time", function()
    local n = 1000003
    local a = tm.array("f64", n):fill(0.1)
    assert.is_true(math.abs(a:sum() - n * 0.1) < 1e-8)
    for i = 1, 1000 do a[i * 997] = math.sin(i) * 1e6 end
    local sum, dot = a:sum(), a:dot(a)
    for _ = 1, 3 do
      assert.equal(sum, a:sum())
      assert.equal(sum, a:copy():sum())
      assert.equal(dot, a:copy():dot(a))
    end
    -- in single precision alone this would stop at 2^24
    assert.equal(20000000, tm.array("f32", 20000000):fill(1):sum())
  end)

  it("complex arithmetic has two parts", function()
    local a = tm.array({ { 1, 2 }, { 3, -4 } }, "c128")
    assert.same({ 4, -2 }, { a:sum() })
    assert.same({ 30, 0 }, { a:dot(a) })
    local b = tm.array({ { 0, 1 }, { 1, 0 } }, "c128")
    assert.same({ 5, 5 }, { a:dot(b) }) -- (1-2i) i + (3+4i)
    assert.same({ { 2, 2 }, { 4, -4 } }, a:copy():add(1):totable())
    assert.same({ { 1, 3 }, { 3, -3 } }, a:copy():add(0, 1):totable())
    assert.same({ { 2, 4 }, { 6, -8 } }, a:copy():scale(2):totable())
    assert.same({ { -2, 1 }, { 4, 3 } }, a:copy():scale(0, 1):totable())
    assert.same({ { 1, 3 }, { 4, -4 } }, a:copy():add(b):totable())
    has("no order", a.min, a)
    has("no order", a.max, a)
  end)

  it("calls can be chained, on rows too", function()
    local m = tm.array("f64", { 2, 3 }):fill(1):add(1):scale(3)
    assert.equal(36, m:sum())
    assert.equal(6, m[1]:add(-4):sum())
    assert.equal(24, m:sum())
    assert.equal(36, m[1]:dot(m[2]))
  end)

  it("methods refuse what is no array", function()
    local a = tm.array("f64", 1)
    for _, name in ipairs { "get", "set", "view", "reshape", "copy", "totable",
                            "fill", "add", "scale", "dot", "sum", "min", "max",
                            "iter", "save" } do
      has("tidemill.array expected", a[name], {})
      has("tidemill.array expected", a[name], io.stdout)
    end
    has("tidemill.array expected, got number", a.dot, a, 1)
  end)
end)
