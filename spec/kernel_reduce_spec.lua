-- Reductions: what they give, and that the bits do not depend on who did it.

local tm = require "tidemill"
local kernels = require "spec.support.kernels"
local pools = require "spec.support.pools"

local SOURCE <const> = [[
#include <math.h>

static int sum(const tm_call *c, const tm_arg *a) {
  double s = 0;
  for (int64_t i = c->first; i < c->last; i++) s += a[0].f64[i];
  *c->acc.f64 += s;
  return 0;
}

static int sum_item(const tm_call *c, const tm_arg *a) {
  *c->acc.f64 += a[0].f64[c->first];
  return 0;
}

static int least(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) {
    double x = a[0].f64[i];
    if (x < *c->acc.f64 || isnan(x)) *c->acc.f64 = x;
  }
  return 0;
}

static int most(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++)
    if (a[0].i64[i] > *c->acc.i64) *c->acc.i64 = a[0].i64[i];
  return 0;
}

static int count(const tm_call *c, const tm_arg *a) {
  (void)a;
  *c->acc.i64 += c->last - c->first;
  return 0;
}

static int histogram(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) c->acc.i64[a[0].u8[i] % 4]++;
  return 0;
}

/* Count, mean and squares about the mean: Chan, Golub and LeVeque's update. */
static void moments_init(void *acc, const tm_arg *a) {
  double *m = acc;
  (void)a;
  m[0] = m[1] = m[2] = 0;
}

static int moments(const tm_call *c, const tm_arg *a) {
  double *m = c->acc.f64;
  for (int64_t i = c->first; i < c->last; i++) {
    double d = a[0].f64[i] - m[1];
    m[0] += 1;
    m[1] += d / m[0];
    m[2] += d * (a[0].f64[i] - m[1]);
  }
  return 0;
}

static void moments_combine(void *into, const void *from, const tm_arg *a) {
  double *x = into;
  const double *y = from;
  double n = x[0] + y[0], d = y[1] - x[1];
  (void)a;
  x[2] += y[2] + d * d * x[0] * y[0] / n;
  x[1] += d * y[0] / n;
  x[0] = n;
}

static int fails(const tm_call *c, const tm_arg *a) {
  (void)a;
  *c->acc.f64 += 1;
  return c->first >= 100 ? c->fail(c, c->first, "enough") : 0;
}

TM_KERNELS(
  TM_RANGE(sum, "const f64[#] x", "sum f64"),
  TM_ITEM(sum_item, "const f64[#] x", .reduce = "sum f64"),
  TM_RANGE(least, "const f64[#] x", .reduce = "min f64"),
  TM_RANGE(most, "const i64[#] x", .reduce = "max i64"),
  TM_ITEM(count, "", .reduce = " sum  i64 "),
  TM_RANGE(histogram, "const u8[#] x", .reduce = "sum i64[4]"),
  TM_RANGE(moments, "const f64[#] x", .reduce = "f64[3]",
           .init = moments_init, .combine = moments_combine),
  TM_ITEM(fails, "", .reduce = "sum f64")
);
]]

local k

setup(function()
  kernels.begin()
  k = tm.compile(SOURCE)
end)

teardown(kernels.finish)

--- n numbers whose sum rounds differently in each order.
local function rough(n)
  local x = tm.array("f64", n)
  for i = 1, n do x[i] = (i % 7 - 3.1) * 10.0 ^ (i % 23 - 11) end
  return x
end

local function bits(x)
  return type(x) == "table" and table.concat(x, " ")
    or ("%a"):format(x)
end

local SIZES <const> = { 1, 2, 3, 255, 256, 257, 1000, 12345 }

describe("a reduction", function()
  for _, kind in ipairs(pools.kinds) do
    it("has the same bits from 1 to 8 workers of a " .. kind .. " pool, and "
      .. "any chunks", function()
      for workers = 1, kind == "fake" and 1 or 8 do
        local pool <close> = pools.new(kind, { workers = workers })
        for _, n in ipairs(SIZES) do
          local x = rough(n)
          for _, kernel in ipairs { k.sum, k.sum_item, k.moments } do
            local alone = bits(kernel(n, x))
            for _, chunk in ipairs { 1, 100, n } do
              assert.equal(alone,
                bits(pool:run(kernel, { n, chunksize = chunk }, x)))
            end
            assert.equal(alone, bits(pool:run(kernel, n, x)))
            assert.equal(alone, bits(pool:run_async(kernel, n, x):get()))
          end
        end
      end
    end)
  end

  it("is as exact as a pairwise sum of its blocks", function()
    local n = 100000
    local x = tm.array("f64", n)
    x:fill(0.1)
    local pool <close> = pools.new "thread"
    assert.is_true(math.abs(pool:run(k.sum, n, x) / (0.1 * n) - 1) < 1e-13)
  end)
end)

for _, kind in ipairs(pools.kinds) do
  describe("in a " .. kind .. " pool", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("min and max find what is there, and nan", function()
      local x, y = rough(3000), tm.array("i64", 3000)
      x[1234], y[2222] = -1e99, 1 << 40
      assert.equal(-1e99, pool:run(k.least, 3000, x))
      assert.equal(1 << 40, pool:run(k.most, 3000, y))
      x[17] = 0 / 0
      local nan = pool:run(k.least, 3000, x)
      assert.is_true(nan ~= nan)
    end)

    it("of no items is what a reduction begins with", function()
      assert.equal(0.0, pool:run(k.sum, 0, rough(1)))
      assert.equal(math.huge, pool:run(k.least, 0, rough(1)))
      assert.equal(math.mininteger, pool:run(k.most, 0, tm.array("i64", 1)))
      assert.same({ 0.0, 0.0, 0.0 }, pool:run(k.moments, 0, rough(1)))
    end)

    it("gives integers for i64, floats for f64", function()
      assert.equal("integer", math.type(pool:run(k.count, 10)))
      assert.equal("float", math.type(pool:run(k.sum, 1, rough(1))))
    end)

    it("does the items from first up to last alone", function()
      assert.equal(7, pool:run(k.count, { 3, 10 }))
      local x = tm.array { 1.0, 2.0, 4.0, 8.0 }
      assert.equal(6.0, pool:run(k.sum, { 1, 3 }, x))
    end)

    it("gives several elements as a table", function()
      local x = tm.array("u8", 1001)
      for i = 1, 1001 do x[i] = i % 4 end
      assert.same({ 250, 251, 250, 250 }, pool:run(k.histogram, 1001, x))
    end)

    it("combines by the kernel's own functions", function()
      local n = 2000
      local x = tm.array("f64", n)
      for i = 1, n do x[i] = i end
      local m = pool:run(k.moments, n, x)
      assert.equal(n, m[1])
      assert.is_true(math.abs(m[2] - (n + 1) / 2) < 1e-9)
      assert.is_true(math.abs(m[3] / n - (n * n - 1) / 12) < 1e-6)
    end)

    it("fails at the lowest item", function()
      local ok, e = pcall(pool.run, pool, k.fails, { 5000, chunksize = 1 })
      assert.is_false(ok)
      assert.equal(100, e.item)
      assert.equal("enough", e.message)
    end)
  end)
end
