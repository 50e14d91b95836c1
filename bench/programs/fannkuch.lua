--- Fannkuch (Anderson and Rettig, 1994): for every permutation of 1 to n, how
--- often must the first k elements be reversed, k the first element, until a
--- 1 comes first; the checksum (even permutations count, odd ones subtract)
--- and the largest number. 228 and 16 for n = 7. An item is a block of
--- permutations, numbered in the factorial number system.

local fannkuch = { size = 9, quick = 8,
                   known = { size = 7, result = { 228, 16 } } }

local BLOCKS <const> = 168 -- divides 7! and what is larger

local function factorials(n)
  local f = { [0] = 1 }
  for i = 1, n do f[i] = f[i - 1] * i end
  return f
end

-- The permutation of a number, and its rotation counts: digit i says how
-- often the first i + 1 elements were rotated.
local function permutation(n, number, f)
  local p, count = {}, {}
  for i = 1, n do p[i] = i end
  for i = n - 1, 1, -1 do
    local d = number // f[i]
    number, count[i] = number % f[i], d
    local old = table.move(p, 1, i + 1, 1, {})
    for j = 0, i do p[j + 1] = old[(j + d) % (i + 1) + 1] end
  end
  return p, count
end

-- Rotates to the next permutation.
local function advance(p, count)
  local i = 1
  p[1], p[2] = p[2], p[1]
  count[1] = count[1] + 1
  while count[i] > i do
    count[i] = 0
    i = i + 1
    if not count[i] then return end
    local first = p[1]
    for j = 1, i do p[j] = p[j + 1] end
    p[i + 1] = first
    count[i] = count[i] + 1
  end
end

local function flips(p, q)
  local n, first = 0, p[1]
  if first == 1 then return 0 end
  table.move(p, 1, #p, 1, q)
  repeat
    local i, j = 1, first
    while i < j do
      q[i], q[j] = q[j], q[i]
      i, j = i + 1, j - 1
    end
    n, first = n + 1, q[1]
  until first == 1
  return n
end

-- Checksum and largest of a block.
local function block(n, number)
  local f = factorials(n)
  local size = f[n] // BLOCKS
  local from = number * size
  local p, count = permutation(n, from, f)
  local q, sum, most = {}, 0, 0
  for k = from, from + size - 1 do
    local times = flips(p, q)
    sum = sum + (k % 2 == 0 and times or -times)
    if times > most then most = times end
    advance(p, count)
  end
  return { sum, most }
end

local function combine(list)
  local sum, most = 0, 0
  for i = 1, BLOCKS do
    sum, most = sum + list[i][1], math.max(most, list[i][2])
  end
  return { sum, most }
end

--- In a plain loop.
---@param n integer at least 7
---@return integer[] checksum and largest
function fannkuch.plain(n)
  local list = {}
  for i = 0, BLOCKS - 1 do list[i + 1] = block(n, i) end
  return combine(list)
end

--- With a pool: a map of blocks.
---@param pool tidemill.pool
---@param n integer
---@param options table
---@return integer[]
function fannkuch.pooled(pool, n, options)
  local tm = require "tidemill"
  return combine(pool:map(function(i) return block(n, i) end,
    tm.range(0, BLOCKS - 1), options))
end

--- Whether two results are the same.
---@param a integer[]
---@param b integer[]
---@return boolean
function fannkuch.same(a, b) return a[1] == b[1] and a[2] == b[2] end

--- A result as text.
---@param x integer[]
---@return string
function fannkuch.show(x) return ("checksum %d, most %d"):format(x[1], x[2]) end

return fannkuch
