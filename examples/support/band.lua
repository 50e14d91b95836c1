--- Symmetric band matrices with three diagonals on each side, as cubic
--- finite elements give them.
---
--- A matrix is four lists of numbers: `a[1]` is the diagonal and `a[1 + b][i]`
--- is the entry in row i, column i - b. Entries left of the first column are
--- kept as zeros, so that few loops ask whether a neighbour exists.

local band = {}

---@alias Band number[][] the diagonal and the three diagonals below it

--- Makes a matrix of zeros.
---@param n integer number of rows
---@return Band
function band.zeros(n)
  local a = {}
  for b = 1, 4 do
    local column = {}
    for i = 1, n do
      column[i] = 0.0
    end
    a[b] = column
  end
  return a
end

--- Factors A - shift B = L D L^T and counts the negative pivots, which are as
--- many as the eigenvalues of A x = E B x that lie below the shift (Sylvester's
--- law of inertia; Parlett, The Symmetric Eigenvalue Problem, section 3.3).
---@param a Band
---@param b Band positive definite
---@param shift number
---@param f Band takes D in f[1], and L below its unit diagonal in the rest
---@return integer below number of eigenvalues below the shift
function band.factor(a, b, shift, f)
  local a0, a1, a2, a3 = a[1], a[2], a[3], a[4]
  local b0, b1, b2, b3 = b[1], b[2], b[3], b[4]
  local f0, f1, f2, f3 = f[1], f[2], f[3], f[4]
  local d1, d2, d3 = 1.0, 1.0, 1.0 -- the pivots of rows i-1, i-2, i-3
  local p1, p2, q1 = 0.0, 0.0, 0.0 -- L(i-1,i-2), L(i-1,i-3), L(i-2,i-3)
  local below = 0
  for i = 1, #a0 do
    local c3 = a3[i] - shift * b3[i]
    local c2 = a2[i] - shift * b2[i] - c3 * q1
    local c1 = a1[i] - shift * b1[i] - c3 * p2 - c2 * p1
    local l1, l2, l3 = c1 / d1, c2 / d2, c3 / d3
    local d = a0[i] - shift * b0[i] - c1 * l1 - c2 * l2 - c3 * l3
    if d < 0 then
      below = below + 1
    elseif d == 0 then
      d = 0x1p-52 * a0[i] -- the shift meets an eigenvalue of a leading block
    end
    f0[i], f1[i], f2[i], f3[i] = d, l1, l2, l3
    q1, p2, p1 = p1, l2, l1
    d1, d2, d3 = d, d1, d2
  end
  return below
end

--- Solves L D L^T x = y.
---@param f Band what `band.factor` has left
---@param y number[]
---@return number[] x
function band.solve(f, y)
  local d, l1, l2, l3 = f[1], f[2], f[3], f[4]
  local n, x = #y, {}
  local u, v, w = 0.0, 0.0, 0.0 -- the three unknowns found last
  for i = 1, n do
    u, v, w = y[i] - l1[i] * u - l2[i] * v - l3[i] * w, u, v
    x[i] = u
  end
  u, v, w = 0.0, 0.0, 0.0
  for i = n, 1, -1 do
    local sum = x[i] / d[i]
    if i < n then sum = sum - l1[i + 1] * u end
    if i < n - 1 then sum = sum - l2[i + 2] * v end
    if i < n - 2 then sum = sum - l3[i + 3] * w end
    u, v, w = sum, u, v
    x[i] = sum
  end
  return x
end

--- Multiplies a matrix by a vector.
---@param a Band
---@param x number[]
---@return number[] y
function band.multiply(a, x)
  local a0, a1, a2, a3 = a[1], a[2], a[3], a[4]
  local y = {}
  for i = 1, #x do
    y[i] = a0[i] * x[i]
  end
  for i = 2, #x do
    -- Columns left of the first are clamped to it; their entries are zeros.
    local i1, i2, i3 = i - 1, math.max(i - 2, 1), math.max(i - 3, 1)
    local xi = x[i]
    y[i] = y[i] + a1[i] * x[i1] + a2[i] * x[i2] + a3[i] * x[i3]
    y[i1] = y[i1] + a1[i] * xi
    y[i2] = y[i2] + a2[i] * xi
    y[i3] = y[i3] + a3[i] * xi
  end
  return y
end

--- The scalar product of two vectors.
---@param x number[]
---@param y number[]
---@return number
function band.dot(x, y)
  local sum = 0.0
  for i = 1, #x do
    sum = sum + x[i] * y[i]
  end
  return sum
end

--- Multiplies a vector by a number.
---@param x number[]
---@param factor number
---@return number[] y
function band.scale(x, factor)
  local y = {}
  for i = 1, #x do
    y[i] = factor * x[i]
  end
  return y
end

return band
