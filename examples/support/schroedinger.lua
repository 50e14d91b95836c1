--- Bound states of a layered structure in the effective-mass approximation of
--- Ben Daniel and Duke (1966), doi:10.1103/PhysRev.152.683:
---
---    -(hbar^2 / 2) d/dz (1/m(z)) d psi/dz
---      + (V(z) + hbar^2 k^2 / 2 m(z)) psi = E psi
---
--- with an in-plane wave vector k. Cubic finite elements with nodes at the
--- interfaces make psi continuous, and psi'/m follows from the weak form. The
--- box ends deep in the barriers, where psi = 0.
---
--- Units: nm, eV, and the free electron's mass m0.

local tm = require "tidemill"
local band = require "support.band"

-- Integrals over the unit interval of phi_a' phi_b' and phi_a phi_b, where
-- phi_a is 1 at node a of 0, 1/3, 2/3, 1 and 0 at the others (Lagrange).
local STIFFNESS = {
  { 148 / 40, -189 / 40, 54 / 40, -13 / 40 },
  { -189 / 40, 432 / 40, -297 / 40, 54 / 40 },
  { 54 / 40, -297 / 40, 432 / 40, -189 / 40 },
  { -13 / 40, 54 / 40, -189 / 40, 148 / 40 },
}
local MASS = {
  { 128 / 1680, 99 / 1680, -36 / 1680, 19 / 1680 },
  { 99 / 1680, 648 / 1680, -81 / 1680, -36 / 1680 },
  { -36 / 1680, -81 / 1680, 648 / 1680, 99 / 1680 },
  { 19 / 1680, -36 / 1680, 99 / 1680, 128 / 1680 },
}

-- Points of a picture in each element.
local PARTS = 6

--- The elements from the left end of the box to the right one. Elements of the
--- well are given as fractions of its width, those of the barriers in nm, so
--- that one mesh serves every width. It is a stored attribute: each worker
--- fetches the elements once, and a point carries only their key.
---@class schroedinger.mesh
---@field elements { inside: boolean, size: number }[]
local Mesh = {}
Mesh.__index = Mesh
tm.glob_store_attributes("elements")(Mesh)

local schroedinger = { Mesh = Mesh }

-- Elements of a barrier grow by `growth` from one to the next, away from the
-- well; `first` is the size of the one that touches it.
local function barrier_sizes(count, thickness, growth)
  local first = thickness * (growth - 1) / (growth ^ count - 1)
  local sizes = {}
  for i = 1, count do
    sizes[i] = first * growth ^ (i - 1)
  end
  return sizes
end

---@class schroedinger.mesh_options
---@field well integer elements in the well
---@field barrier integer elements in each barrier
---@field thickness number of each barrier, nm
---@field growth number above 1: size of a barrier's element over the one before

--- Makes a mesh.
---@param opts schroedinger.mesh_options
---@return schroedinger.mesh
function Mesh.new(opts)
  local sizes = barrier_sizes(opts.barrier, opts.thickness, opts.growth)
  local elements = {}
  for i = #sizes, 1, -1 do
    elements[#elements + 1] = { inside = false, size = sizes[i] }
  end
  for _ = 1, opts.well do
    elements[#elements + 1] = { inside = true, size = 1 / opts.well }
  end
  for i = 1, #sizes do
    elements[#elements + 1] = { inside = false, size = sizes[i] }
  end
  local mesh = setmetatable({}, Mesh)
  mesh.elements = elements -- through the metatable: this stores them
  return mesh
end

-- Adds `s` times the stiffness and `m` times the mass integrals of the e-th
-- element to a matrix. Its nodes are unknowns 3e - 3 to 3e; the outermost ones,
-- 0 and n + 1, are the walls of the box and drop out.
local function add_element(matrix, e, s, m)
  local first = e == 1 and 2 or 1
  local last = 3 * e > #matrix[1] and 3 or 4
  for a = first, last do
    local i, stiffness, mass = 3 * e - 4 + a, STIFFNESS[a], MASS[a]
    for b = first, a do
      local diagonal = matrix[1 + a - b]
      diagonal[i] = diagonal[i] + s * stiffness[b] + m * mass[b]
    end
  end
end

-- A first vector for the iteration. It has no symmetry, so that it holds a part
-- of every state, and no random numbers, so that every run is the same.
local function any_vector(n)
  local x = {}
  for i = 1, n do
    x[i] = 0.5 + i * 0.6180339887 % 1
  end
  return x
end

-- The discrete problem H c = E S c for one well and one in-plane wave vector:
-- the Hamiltonian, the overlap of the shape functions, and room for factors.
local function assemble(elements, well, width, k)
  local n = 3 * #elements - 1
  local h, s = band.zeros(n), band.zeros(n)
  local bottom, top = well.edges(k)
  local inside = well.HBAR2_2M0 / well.mass_well
  local outside = well.HBAR2_2M0 / well.mass_barrier
  for e, element in ipairs(elements) do
    local size = element.size
    if element.inside then
      size = size * width
      add_element(h, e, inside / size, bottom * size)
    else
      add_element(h, e, outside / size, top * size)
    end
    add_element(s, e, 0.0, size)
  end
  return { h = h, s = s, factors = band.zeros(n), start = any_vector(n) }
end

-- Factors H - E S; returns the number of levels below E.
local function factor(system, energy)
  return band.factor(system.h, system.s, energy, system.factors)
end

-- One inverse iteration with the factors at `shift`: (H - shift S) y = S x, for
-- x of norm 1. Returns the Rayleigh quotient of y, Sy and y at norm 1, and a
-- bound of the distance from the shift to the nearest level: 1 / norm of y.
local function iterate(system, shift, sx)
  local y = band.solve(system.factors, sx)
  local sy = band.multiply(system.s, y)
  local square = band.dot(y, sy)
  local energy = shift + band.dot(y, sx) / square
  local scale = 1 / math.sqrt(square)
  return energy, band.scale(sy, scale), band.scale(y, scale), scale
end

-- Finds the one level between `lo` and `hi`, where the factors are those at
-- `shift`: inverse iterations, then Rayleigh quotient iterations. These
-- converge cubically: after one that began within 1e-5, only rounding is left.
-- Returns nothing when it is drawn to a level outside.
local function refine(system, lo, hi, shift)
  local energy, y, distance
  local sx = system.start
  for _ = 1, 3 do
    energy, sx = iterate(system, shift, sx)
  end
  for _ = 1, 8 do
    if energy <= lo or energy >= hi then return end
    shift = energy
    factor(system, shift)
    energy, sx, y, distance = iterate(system, shift, sx)
    if distance < 1e-5 * energy then return energy, y end
  end
end

-- Appends the states between two energies to a list, from the lowest. `below`
-- and `above` are the numbers of levels under each, so the interval is halved
-- until it holds one level; what the iteration then finds in it is that one.
local function search(system, lo, below, hi, above, states)
  if above == below then return end
  local mid = (lo + hi) / 2
  if mid <= lo or mid >= hi then error "two levels closer than rounding" end
  local here = factor(system, mid)
  if above - below == 1 then
    local from, to = lo, mid
    if here == below then from, to = mid, hi end
    local energy, nodes = refine(system, from, to, mid)
    if energy then
      states[#states + 1] = { energy = energy, nodes = nodes }
      return
    end
  end
  search(system, lo, below, mid, here, states)
  search(system, mid, here, hi, above, states)
end

local function bound_states(elements, well, width, k)
  local system = assemble(elements, well, width, k)
  local bottom, top = well.edges(k)
  local states = {}
  search(system, bottom, 0, top, factor(system, top), states)
  return states
end

-- The values of the four shape functions at t of 0..1.
local function shapes(t)
  local a, b, c = 3 * t - 1, 3 * t - 2, t - 1
  return -a * b * c / 2, 4.5 * t * b * c, -4.5 * t * a * c, t * a * b / 2
end

-- The wave function in one element, whose nodes are unknowns 3e - 3 to 3e.
local function shape_sum(nodes, e, t)
  local p, q, r, s = shapes(t)
  local i = 3 * e - 3
  return p * (nodes[i] or 0) + q * nodes[i + 1] + r * nodes[i + 2]
    + s * (nodes[i + 3] or 0) -- at the walls of the box, psi = 0
end

-- Points of a wave function, with z = 0 in the middle of the box and psi
-- positive where the well begins.
local function draw(elements, width, nodes)
  local z, psi, length, sign = {}, {}, 0, nil
  for e, element in ipairs(elements) do
    local size = element.inside and element.size * width or element.size
    for part = 0, PARTS - 1 do
      z[#z + 1] = length + size * part / PARTS
      psi[#psi + 1] = shape_sum(nodes, e, part / PARTS)
    end
    if element.inside and not sign then
      sign = psi[#psi] < 0 and -1 or 1
    end
    length = length + size
  end
  for i = 1, #z do
    z[i], psi[i] = z[i] - length / 2, sign * psi[i]
  end
  return z, psi
end

--- The bound levels of a well: those below the edge of its barriers.
---@param mesh schroedinger.mesh
---@param well table `edges(k)`, `HBAR2_2M0`, `mass_well`, `mass_barrier`
---@param width number nm
---@param k number in-plane wave vector, 1/nm
---@return number[] levels eV, from the lowest
function schroedinger.levels(mesh, well, width, k)
  local levels = {}
  for i, state in ipairs(bound_states(mesh.elements, well, width, k)) do
    levels[i] = state.energy
  end
  return levels
end

--- The bound states of a well with their wave functions, for a picture: z in nm
--- from the middle of the well, psi in nm^(-1/2), its square's integral 1.
---@param mesh schroedinger.mesh
---@param well table as for `levels`
---@param width number nm
---@param k number in-plane wave vector, 1/nm
---@return { energy: number, z: number[], psi: number[] }[] states
function schroedinger.states(mesh, well, width, k)
  local elements = mesh.elements
  local states = bound_states(elements, well, width, k)
  for i, state in ipairs(states) do
    local z, psi = draw(elements, width, state.nodes)
    states[i] = { energy = state.energy, z = z, psi = psi }
  end
  return states
end

return schroedinger
