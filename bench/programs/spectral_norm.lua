--- The spectral norm of the infinite matrix A with entries
--- a(i, j) = 1 / ((i + j)(i + j + 1) / 2 + i + 1), i and j from 0, cut to
--- n x n: the square root of the largest eigenvalue of A'A, by ten steps of
--- the power method, as the problem statement of the Computer Language
--- Benchmarks Game asks. 1.274219991 for n = 100.

local spectral_norm = { size = 700, quick = 300 }

local function entry(i, j)
  local s = i + j
  return 1 / (s * (s + 1) / 2 + i + 1)
end

-- Row i of A times v, i from 0.
local function row(v, i)
  local sum = 0
  for j = 1, #v do sum = sum + entry(i, j - 1) * v[j] end
  return sum
end

-- Row i of A' times v.
local function column(v, i)
  local sum = 0
  for j = 1, #v do sum = sum + entry(j - 1, i) * v[j] end
  return sum
end

-- The power method; product(f, v) makes the vector of f(v, i), i from 0.
local function power_method(n, product)
  local u, v = {}, nil
  for i = 1, n do u[i] = 1.0 end
  for _ = 1, 10 do
    v = product(column, product(row, u))
    u = product(column, product(row, v))
  end
  local uv, vv = 0, 0
  for i = 1, n do
    uv, vv = uv + u[i] * v[i], vv + v[i] * v[i]
  end
  return math.sqrt(uv / vv)
end

--- In a plain loop.
---@param n integer
---@return number
function spectral_norm.plain(n)
  return power_method(n, function(f, v)
    local out = {}
    for i = 1, n do out[i] = f(v, i - 1) end
    return out
  end)
end

--- With a pool: forty maps of n items, each of which gets the vector.
---@param pool tidemill.pool
---@param n integer
---@param options table
---@return number
function spectral_norm.pooled(pool, n, options)
  local tm = require "tidemill"
  local rows = tm.range(0, n - 1)
  return power_method(n, function(f, v)
    return pool:map(function(i) return f(v, i) end, rows, options)
  end)
end

local SOURCE = [[
#include "tidemill_kernel.h"

static double entry(int64_t i, int64_t j) {
  double s = (double)(i + j);
  return 1 / (s * (s + 1) / 2 + (double)i + 1);
}

static int row(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) {
    double sum = 0;
    for (int64_t j = 0; j < a[1].n; j++) sum += entry(i, j) * a[1].f64[j];
    a[0].f64[i] = sum;
  }
  return 0;
}

static int column(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) {
    double sum = 0;
    for (int64_t j = 0; j < a[1].n; j++) sum += entry(j, i) * a[1].f64[j];
    a[0].f64[i] = sum;
  }
  return 0;
}

TM_KERNELS(
  TM_RANGE(row, "f64[#] out, const f64[*] v"),
  TM_RANGE(column, "f64[#] out, const f64[*] v")
);
]]

--- With kernels over arrays.
---@param pool tidemill.pool
---@param n integer
---@return number
function spectral_norm.kernel(pool, n)
  local tm = require "tidemill"
  local kernels = tm.compile(SOURCE)
  local u, v, t = tm.array("f64", n):fill(1), tm.array("f64", n),
    tm.array("f64", n)
  for _ = 1, 10 do
    pool:run(kernels.row, n, t, u)
    pool:run(kernels.column, n, v, t)
    pool:run(kernels.row, n, t, v)
    pool:run(kernels.column, n, u, t)
  end
  return math.sqrt(u:dot(v) / v:dot(v))
end

--- Whether a result is right: for n = 100 the published one, else another's.
---@param a number
---@param b number
---@return boolean
function spectral_norm.same(a, b) return math.abs(a - b) < 1e-9 end

--- A result as text.
---@param x number
---@return string
function spectral_norm.show(x) return ("%.9f"):format(x) end

spectral_norm.known = { size = 100, result = 1.274219991 }

return spectral_norm
