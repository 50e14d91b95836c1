--- How many ways n queens stand on an n x n board without attacking one
--- another: 14200 for n = 12. An item is a choice of the first two rows.

local nqueens = { size = 12, quick = 11, known = { size = 8, result = 92 } }

-- Ways to fill the rows below; the masks are the columns and diagonals taken.
local function ways(full, columns, left, right)
  if columns == full then return 1 end
  local count, free = 0, full & ~(columns | left | right)
  while free ~= 0 do
    local bit = free & -free
    free = free - bit
    count = count + ways(full, columns | bit, (left | bit) << 1,
      (right | bit) >> 1)
  end
  return count
end

-- The boards of n * n beginnings; those that attack have no ways.
local function beginning(n, item)
  local full, a, b = (1 << n) - 1, 1 << (item // n), 1 << (item % n)
  if a == b or a << 1 == b or a >> 1 == b then return 0 end
  return ways(full, a | b, (a << 1 | b) << 1, (a >> 1 | b) >> 1)
end

local function add(list, n)
  local sum = 0
  for i = 1, n do sum = sum + list[i] end
  return sum
end

--- In a plain loop.
---@param n integer
---@return integer
function nqueens.plain(n)
  local list = {}
  for item = 0, n * n - 1 do list[item + 1] = beginning(n, item) end
  return add(list, n * n)
end

--- With a pool: a map of n * n beginnings.
---@param pool tidemill.pool
---@param n integer
---@param options table
---@return integer
function nqueens.pooled(pool, n, options)
  local tm = require "tidemill"
  local list = pool:map(function(item) return beginning(n, item) end,
    tm.range(0, n * n - 1), options)
  return add(list, n * n)
end

local SOURCE = [[
#include "tidemill_kernel.h"

static int64_t ways(int64_t full, int64_t columns, int64_t left,
                    int64_t right) {
  if (columns == full) return 1;
  int64_t count = 0, free = full & ~(columns | left | right);
  while (free) {
    int64_t bit = free & -free;
    free -= bit;
    count += ways(full, columns | bit, (left | bit) << 1, (right | bit) >> 1);
  }
  return count;
}

static int beginnings(const tm_call *c, const tm_arg *args) {
  int64_t n = args[0].i, full = ((int64_t)1 << n) - 1;
  for (int64_t item = c->first; item < c->last; item++) {
    int64_t a = (int64_t)1 << (item / n), b = (int64_t)1 << (item % n);
    if (a == b || a << 1 == b || a >> 1 == b) continue;
    *c->acc.i64 += ways(full, a | b, (a << 1 | b) << 1, (a >> 1 | b) >> 1);
  }
  return 0;
}

TM_KERNELS(TM_RANGE(beginnings, "i64 n", .reduce = "sum i64"));
]]

--- With a kernel that adds up.
---@param pool tidemill.pool
---@param n integer
---@return integer
function nqueens.kernel(pool, n)
  local tm = require "tidemill"
  return pool:run(tm.compile(SOURCE).beginnings, n * n, n)
end

--- Whether two results are the same.
---@param a integer
---@param b integer
---@return boolean
function nqueens.same(a, b) return a == b end

--- A result as text.
---@param x integer
---@return string
function nqueens.show(x) return ("%d ways"):format(x) end

return nqueens
