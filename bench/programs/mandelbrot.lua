--- The Mandelbrot set on an n x n grid over [-1.5, 0.5] x [-1, 1]: how many
--- points are inside after 50 steps (Computer Language Benchmarks Game; its
--- bitmap is summed up row by row here). An item is a row: their costs differ.

local mandelbrot = { size = 400, quick = 200 }

-- Bits of row y as a string of 0s and 1s, and how many are set.
local function row(n, y)
  local bits, ci = {}, 2 * y / n - 1
  for x = 0, n - 1 do
    local cr, zr, zi, inside = 2 * x / n - 1.5, 0.0, 0.0, 1
    for _ = 1, 50 do
      zr, zi = zr * zr - zi * zi + cr, 2 * zr * zi + ci
      if zr * zr + zi * zi > 4 then
        inside = 0
        break
      end
    end
    bits[x + 1] = inside
  end
  return table.concat(bits)
end

-- One number for the picture: points inside, each weighed by its place.
local function digest(rows, n)
  local sum = 0
  for y = 1, n do
    for x in rows[y]:gmatch "()1" do sum = (sum * 31 + x * y) % 1000000007 end
  end
  return sum
end

--- In a plain loop.
---@param n integer
---@return integer
function mandelbrot.plain(n)
  local rows = {}
  for y = 0, n - 1 do rows[y + 1] = row(n, y) end
  return digest(rows, n)
end

--- With a pool: a map of n rows.
---@param pool tidemill.pool
---@param n integer
---@param options table
---@return integer
function mandelbrot.pooled(pool, n, options)
  local tm = require "tidemill"
  local rows = pool:map(function(y) return row(n, y) end, tm.range(0, n - 1),
    options)
  return digest(rows, n)
end

local SOURCE = [[
#include "tidemill_kernel.h"

static int inside(double cr, double ci) {
  double zr = 0, zi = 0;
  for (int k = 0; k < 50; k++) {
    double t = zr * zr - zi * zi + cr;
    zi = 2 * zr * zi + ci;
    zr = t;
    if (zr * zr + zi * zi > 4) return 0;
  }
  return 1;
}

static int rows(const tm_call *c, const tm_arg *a) {
  int64_t n = a[1].i;
  for (int64_t y = c->first; y < c->last; y++)
    for (int64_t x = 0; x < n; x++)
      a[0].u8[y * n + x] = (uint8_t)('0' + inside(
        2 * (double)x / (double)n - 1.5, 2 * (double)y / (double)n - 1));
  return 0;
}

TM_KERNELS(TM_RANGE(rows, "u8[n, n] bits, i64 n"));
]]

--- With a kernel into an array of bytes.
---@param pool tidemill.pool
---@param n integer
---@return integer
function mandelbrot.kernel(pool, n)
  local tm = require "tidemill"
  local bits = tm.array("u8", { n, n })
  pool:run(tm.compile(SOURCE).rows, n, bits, n)
  local rows = {}
  for y = 1, n do rows[y] = string.char(table.unpack(bits[y]:totable())) end
  return digest(rows, n)
end

--- Whether two results are the same.
---@param a integer
---@param b integer
---@return boolean
function mandelbrot.same(a, b) return a == b end

--- A result as text.
---@param x integer
---@return string
function mandelbrot.show(x) return ("digest %d"):format(x) end

return mandelbrot
