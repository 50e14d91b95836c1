--- The picture of the quantum well example: the well with its wave functions on
--- the left, the subband dispersion on the right, over one scale of energy.

local svg = require "support.svg"

local picture = {}

-- Okabe and Ito's colours, which stay apart for colour-blind eyes.
local COLOURS = { "#0072B2", "#D55E00", "#009E73", "#CC79A7" }
local EDGE, CONTINUUM, BARRIER, MUTED =
  "#222222", "#e2e2e2", "#e8cf95", "#555555"

local TOP = 0.5 -- eV, of both scales
local HALF = 18 -- nm, each side of the well's middle
local SCALE = 0.11 -- eV a wave function of 1 nm^(-1/2) is drawn high

local function draw_state(panel, n, state)
  local colour, energy = COLOURS[n], state.energy
  local psi = {}
  for i, value in ipairs(state.psi) do
    psi[i] = energy + SCALE * value
  end
  panel:line({ -HALF, HALF }, { energy, energy },
    { colour = colour, width = 1, dash = "2 3" })
  panel:area(state.z, psi, energy, { fill = colour, fill_opacity = 0.16 })
  panel:line(state.z, psi, { colour = colour, width = 2 })
  panel:text(HALF, energy, ("E_{%d} = %.3f eV"):format(n, energy),
    { anchor = "end", dx = -8, dy = -9, colour = colour, weight = "600" })
end

local function draw_well(panel, well, states)
  local half = well.width / 2
  local z = { -HALF, -half, -half, half, half, HALF }
  local v = { well.depth, well.depth, 0, 0, well.depth, well.depth }
  panel:area(z, v, 0, { fill = BARRIER, fill_opacity = 0.3 })
  panel:area({ -HALF, HALF }, { TOP, TOP }, well.depth,
    { fill = CONTINUUM, fill_opacity = 0.7 })
  for n, state in ipairs(states) do
    draw_state(panel, n, state)
  end
  panel:line(z, v, { colour = EDGE, width = 2 })
  local style = { anchor = "middle", colour = MUTED, dy = -12 }
  panel:text(0, well.depth, well.materials[1], style)
  panel:text((half + HALF) / 2, well.depth, well.materials[2], style)
  panel:text(-(half + HALF) / 2, well.depth, well.materials[2], style)
end

-- The energies that are no bound ones: above the edge of the barriers.
local function draw_continuum(panel, well, ks)
  local edge = {}
  for i, k in ipairs(ks) do
    edge[i] = select(2, well.edges(k))
  end
  panel:area(ks, edge, TOP + 0.1, { fill = CONTINUUM, fill_opacity = 0.7 })
  panel:line(ks, edge, { colour = EDGE, width = 2 })
end

local function draw_subband(panel, well, n, ks, energies)
  local parabola = {}
  for i, k in ipairs(ks) do
    parabola[i] = energies[1] + well.edges(k)
  end
  panel:line(ks, parabola, { colour = MUTED, width = 1.2, dash = "5 4" })
  panel:line(ks, energies, { colour = COLOURS[n], width = 2.2 })
  panel:text(ks[#ks], energies[#energies], ("n = %d"):format(n),
    { dx = 8, dy = 4.5, colour = COLOURS[n], weight = "600" })
end

local function legend(figure, x, y)
  figure:legend(x, y, {
    { text = "band edge", advance = 130, style = { colour = EDGE, width = 2 } },
    { text = "wave function ψ, drawn at its level", advance = 290,
      style = { colour = COLOURS[1], width = 2 } },
    { text = "subband with the mass of the well alone", advance = 315,
      style = { colour = MUTED, width = 1.2, dash = "5 4" } },
    { text = "unbound", advance = 0,
      style = { fill = CONTINUUM, fill_opacity = 0.7 } },
  })
end

--- Draws both panels and writes them to a file.
---@param path string
---@param well table the well: `width`, `depth`, `edges(k)`, `materials`
---@param states { energy: number, z: number[], psi: number[] }[]
---@param ks number[] in-plane wave vectors, 1/nm
---@param subbands number[][] for each level, its energies over ks, eV
function picture.write(path, well, states, ks, subbands)
  local figure = svg.figure(1080, 560, "Bound states of a quantum well")
  local scale = { y = 60, height = 384, yrange = { 0, TOP }, ystep = 0.1,
    yformat = "%.1f", ylabel = "Energy (eV)" }
  scale.__index = scale
  local left = figure:panel(setmetatable({ x = 80, width = 430,
    xrange = { -HALF, HALF }, xstep = 6, xformat = "%g",
    xlabel = "Position z (nm)",
    title = ("Well of %g nm: levels and wave functions"):format(well.width) },
    scale))
  draw_well(left, well, states)
  left:frame()
  local right = figure:panel(setmetatable({ x = 590, width = 430,
    xrange = { 0, ks[#ks] }, xstep = 0.1, xformat = "%.1f",
    xlabel = "In-plane wave vector k (nm^{−1})",
    title = "Subband dispersion E(k)" }, scale))
  draw_continuum(right, well, ks)
  for n, energies in ipairs(subbands) do
    draw_subband(right, well, n, ks, energies)
  end
  right:frame()
  legend(figure, 80, 528)
  figure:write(path)
end

return picture
