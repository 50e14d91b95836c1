-- Plain C functions: declarations, values both ways, and over arrays.

local tm = require "tidemill"
local pools = require "spec.support.pools"

local MATH <const> = "libm.so.6"

local built, why = pcall(tm.cfunction, MATH, "double cos(double)")

local function has(pattern, f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(err):find(pattern, 1, true), err)
end

if not built then
  describe("without libffi, cfunction", function()
    it("says what to install", function()
      assert.matches("built without libffi", why)
    end)
  end)
  return
end

local function c(declaration) return tm.cfunction(nil, declaration) end

describe("a C function", function()
  it("is called with numbers", function()
    local cos = tm.cfunction(MATH, "double cos(double)")
    assert.equal(1.0, cos(0))
    assert.equal(math.cos(0.5), cos(0.5))
    local pow = tm.cfunction(MATH, "double pow(double x, double y);")
    assert.equal(1024.0, pow(2, 10))
    local root = tm.cfunction(MATH, "float sqrtf ( float x )")
    assert.equal(1.5, root(2.25))
    assert.equal(12, c "long labs(long)"(-12))
    assert.equal(math.maxinteger, c "long long llabs(long long)"(
      -math.maxinteger))
    assert.equal(-1, tm.cfunction(MATH, "int ilogb(double)")(0.5))
  end)

  it("is called with strings and arrays", function()
    assert.equal(5, c "size_t strlen(const char *s)"("hello"))
    assert.matches("%a", c "const char *strerror(int)"(2))
    local from, to = tm.array { 1.5, 2.5 }, tm.array("f64", 2)
    c "void *memcpy(void *to, const void *from, size_t n)"(to, from, 16)
    assert.same({ 1.5, 2.5 }, to:totable())
    local e = tm.array("i32", 1)
    local part = tm.cfunction(MATH, "double frexp(double, int *)")
    assert.equal(0.5, part(8, e))
    assert.equal(4, e[1])
  end)

  it("checks what it is given", function()
    local abs = c "int abs(int)"
    has("number does not fit", abs, 1 << 40)
    has("number expected, got string", abs, "x")
    has("abs: 1 arguments expected, got 2", abs, 1, 2)
    local part = tm.cfunction(MATH, "double frexp(double, int *)")
    has("i32 array expected, got f64", part, 1, tm.array("f64", 1))
    has("expected, got number", part, 1, 1)
  end)

  for _, kind in ipairs(pools.concurrent) do
    it("travels to the workers of a " .. kind .. " pool", function()
      local pool <close> = pools.new(kind)
      local cos = tm.cfunction(MATH, "double cos(double)")
      assert.same({ math.cos(1), math.cos(2), n = 2 },
        pool:map(cos, { 1, 2 }))
      assert.equal(math.cos(3), pool:apply(function() return cos(3) end))
      assert.equal(cos, pool:apply(function() return cos end))
    end)
  end

  it("can be printed, and compared", function()
    local cos = tm.cfunction(MATH, "double cos(double)")
    assert.equal("tidemill.cfunction 'double cos(double)'", tostring(cos))
    assert.equal(cos, tm.cfunction(MATH, "double cos(double)"))
    assert.not_equal(cos, tm.cfunction(MATH, "double sin(double)"))
  end)
end)

for _, kind in ipairs(pools.kinds) do
  describe("over arrays, in a " .. kind .. " pool, a C function", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("of doubles is run", function()
      local n = 1000
      local x, y, z = tm.array("f64", n), tm.array("f64", n),
        tm.array("f64", n)
      for i = 1, n do x[i] = i / 100 end
      pool:run(tm.cfunction(MATH, "double cos(double)"), n, y, x)
      for i = 1, n do assert.equal(math.cos(x[i]), y[i]) end
      pool:run(tm.cfunction(MATH, "double hypot(double, double)"), n, z, x, x)
      assert.is_true(math.abs(z[n] - 10 * math.sqrt(2)) < 1e-14)
    end)

    it("of other numbers is run", function()
      local x, e = tm.array { 1.0, 8.0, 0.25 }, tm.array("i32", 3)
      pool:run(tm.cfunction(MATH, "int ilogb(double)"), 3, e, x)
      assert.same({ 0, 3, -2 }, e:totable())
      local y = tm.array("f64", 3)
      pool:run(tm.cfunction(MATH, "double ldexp(double, int)"), 3, y, x, e)
      assert.same({ 1.0, 64.0, 0.0625 }, y:totable())
    end)

    it("is mapped", function()
      local x, y = tm.array { 0.0, 1.0, 2.0 }, tm.array("f64", 3)
      pool:map(tm.cfunction(MATH, "double exp(double)"), x, { out = y })
      assert.equal(math.exp(2), y[3])
    end)

    it("is checked before it runs", function()
      local cos = tm.cfunction(MATH, "double cos(double)")
      local x, y = tm.array("f64", 3), tm.array("f32", 3)
      has("argument 1 'out' must be f64[#] (got f32[3])", pool.run, pool, cos,
        3, y, x)
      has("whose extent 1 is at least 4", pool.run, pool, cos, 4, x, x)
      has("cannot be run over arrays", pool.run, pool,
        c "size_t strlen(const char *)", 3, x, x)
    end)
  end)
end

describe("a declaration", function()
  it("says what is wrong with it", function()
    has("a type expected (column 1)", c, "doubel cos(double)")
    has("a name expected", c, "double (double)")
    has("'(' expected", c, "double cos")
    has("',' or ')' expected", c, "double cos(double")
    has("the end expected", c, "double cos(double) x")
    has("not void expected", c, "double cos(double, void)")
    has("no pointer to a pointer", c, "int f(char **)")
    has("a type expected", c, "int printf(const char *, ...)")
    has("the program has no function 'nope'", c, "int nope(void)")
    has("no-such.so", tm.cfunction, "./no-such.so", "int f(void)")
    has("bad argument #2 to 'cfunction'", tm.cfunction, MATH)
    has("bad argument #1 to 'cfunction'", tm.cfunction, 1, "int f(void)")
  end)
end)
