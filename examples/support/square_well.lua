--- The finite square well with a mass of its own inside and outside: what is
--- known about it, and its exact levels.
---
--- Units: nm, eV, and the free electron's mass m0.

local well = {
  ---The well of Li (1992), doi:10.1006/jcph.1994.1026 as cited by PyNitride's
  ---test of its Schroedinger solver: GaAs in Al(0.401)Ga(0.599)As.
  materials = { "GaAs", "Al_{0.401}Ga_{0.599}As" }, -- inside, outside
  width = 9.611, -- nm
  depth = 0.4, -- eV
  mass_well = 0.067, -- m0
  mass_barrier = 0.100, -- m0
  published = { 0.0357664, 0.1423513, 0.3110624 }, -- eV
}

-- CODATA 2022; h and e are exact since 2019.
local PLANCK = 6.62607015e-34 -- J s
local ELECTRON_MASS = 9.1093837139e-31 -- kg
local CHARGE = 1.602176634e-19 -- C

--- hbar^2 / 2 m0 in eV nm^2 (1e18 nm^2 in a m^2).
well.HBAR2_2M0 = (PLANCK / (2 * math.pi)) ^ 2
  / (2 * ELECTRON_MASS * CHARGE) * 1e18

--- The edges of the two materials at an in-plane wave vector: motion in the
--- plane adds hbar^2 k^2 / 2m with the mass of each.
---@param k number in-plane wave vector, 1/nm
---@return number bottom edge in the well, eV
---@return number top edge in the barriers, eV
function well.edges(k)
  local t = well.HBAR2_2M0 * k * k
  return t / well.mass_well, well.depth + t / well.mass_barrier
end

-- The phase that a wave of this energy is short of the n-th level (n from 0):
-- q w = n pi + 2 atan((kappa / mb) / (q / mw)), which holds the even and the
-- odd levels of psi and psi'/m continuous (Ben Daniel and Duke 1966,
-- doi:10.1103/PhysRev.152.683). It grows with the energy.
local function phase(n, energy, bottom, top, width)
  local mw, mb, t = well.mass_well, well.mass_barrier, well.HBAR2_2M0
  local q = math.sqrt(mw * (energy - bottom) / t)
  local kappa = math.sqrt(mb * (top - energy) / t)
  return q * width - n * math.pi - 2 * math.atan(kappa * mw, q * mb)
end

--- The exact levels: the roots of the well's transcendental equation, each by
--- bisection down to neighbouring numbers.
---@param width number nm
---@param k number in-plane wave vector, 1/nm
---@return number[] levels eV, from the lowest
function well.exact(width, k)
  local bottom, top = well.edges(k)
  local levels = {}
  while phase(#levels, top, bottom, top, width) > 0 do
    local lo, hi = bottom, top
    local mid = (lo + hi) / 2
    while lo < mid and mid < hi do
      if phase(#levels, mid, bottom, top, width) < 0 then
        lo = mid
      else
        hi = mid
      end
      mid = (lo + hi) / 2
    end
    levels[#levels + 1] = mid
  end
  return levels
end

return well
