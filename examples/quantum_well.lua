--- The bound states of a GaAs/AlGaAs quantum well, on every core.
---
--- Solves the well of Li (1992; doi:10.1006/jcph.1994.1026 as cited by
--- PyNitride's test of its Schroedinger solver) with finite elements, and
--- compares its levels with the published ones and with the exact roots. Then
--- sweeps well widths and in-plane wave vectors, a task for each point,
--- serially, on threads and on processes, and asks for the same numbers to the
--- last bit. Where there is a C compiler, the sweep is repeated with the solver
--- as a kernel, which must find the same levels. A picture goes to
--- quantum_well.svg, the subbands of the nominal width to quantum_well.npy: a
--- row for each wave vector, of k and the levels, nan where one is not bound.
--- Exit status 1 if a check fails.
---
---     tidemill examples/quantum_well.lua [output folder]
---
--- The folder is build/ where there is one, else the working directory.

local folder = arg[0]:match "^(.*/)" or "./"
package.path = folder .. "?.lua;" .. package.path

local tm = require "tidemill"
local folder_of = require "support.folder"
local picture = require "support.well_picture"
local schroedinger = require "support.schroedinger"
local schroedinger_kernel = require "support.schroedinger_kernel"
local well = require "support.square_well"

local FOLDER = folder_of(arg[1])
local OUTPUT = FOLDER .. "quantum_well.svg"
local NPY = FOLDER .. "quantum_well.npy"

-- The sweep: widths are FIRST/40, (FIRST + 1)/40 ... of the nominal one, which
-- is exactly among them; wave vectors go in equal steps from 0 to LAST_K.
local WIDTHS, FIRST = 48, 20
local WAVE_VECTORS, LAST_K = 48, 0.5 -- 1/nm
local NOMINAL = 40 - FIRST + 1

-- The largest relative errors that pass.
local TO_PUBLISHED, TO_EXACT = 1e-5, 1e-6
-- The kernel rounds as Lua does; this leaves room for another compiler's flags.
local KERNEL_TO_LUA = 1e-12
-- A level near the edge of the barriers reaches far into them. The mesh ends
-- where one that is bound by this much has long decayed, and the sweep is held
-- to TO_EXACT for these; a shallower one feels the walls.
local BOUND = 0.010 -- eV

-- The most levels of a point that the kernel has room for.
local ROOM = 8

-- Each sweep in Lua is timed so often, in turn, and its best time kept: other
-- programs on the machine make one slower, never faster.
local ROUNDS = 2

-- What is compared, the reference first.
local POOLS = {
  { name = "FakePool", make = tm.FakePool },
  { name = "thread pool", make = tm.thread_pool },
  { name = "process pool", make = tm.process_pool },
}

local function check(condition, message, ...)
  if not condition then
    io.stderr:write("quantum_well: ", message:format(...), "\n")
    os.exit(1, true)
  end
end

local function relative(value, reference)
  return value / reference - 1
end

-- All the wave vectors of the first width, then those of the next.
local function sweep_points()
  local points = {}
  for i = 1, WIDTHS do
    for j = 1, WAVE_VECTORS do
      points[#points + 1] = {
        width = (FIRST + i - 1) / 40 * well.width,
        k = (j - 1) / (WAVE_VECTORS - 1) * LAST_K,
      }
    end
  end
  return points
end

-- Compares the levels of the published well; the errors are relative.
local function report_levels(levels)
  local exact = well.exact(well.width, 0)
  check(#levels == #well.published, "%d levels instead of %d",
    #levels, #well.published)
  print(("%s in %s, %g nm wide, %g eV deep, masses %.3f and %.3f m0"):format(
    well.materials[1], well.materials[2]:gsub("_{(.-)}", "(%1)"), well.width,
    well.depth, well.mass_well, well.mass_barrier))
  print(("hbar^2/2m0 = %.9f eV nm^2 (CODATA 2022)\n"):format(well.HBAR2_2M0))
  print("level  published/eV   computed/eV      exact/eV"
    .. "  to published  to exact")
  for n, published in ipairs(well.published) do
    local a, b = relative(levels[n], published), relative(levels[n], exact[n])
    print(("%5d  %12.7f  %12.9f  %12.9f  %12.1e  %8.1e"):format(
      n, published, levels[n], exact[n], a, b))
    check(math.abs(a) < TO_PUBLISHED, "level %d is off the published one", n)
    check(math.abs(b) < TO_EXACT, "level %d is off the exact one", n)
  end
end

-- Solves every point in a pool of the kind given. The time is that of the wall,
-- with the making of the pool.
local function sweep(kind, mesh, points)
  local found = tm.Counter { print_every = 5000,
    print_message = kind.name .. ": {} levels found" }
  local solve = tm.task("levels of a well", function(point)
    local levels = schroedinger.levels(mesh, well, point.width, point.k)
    found:increment(#levels)
    return levels
  end)
  local start = tm.clock()
  local pool = kind.make()
  -- Chunks of some 20 ms: the workers end together, also when another program
  -- takes one's CPU for a while.
  local results = pool:map(solve, points, { progress = true, chunksize = 16 })
  local seconds = tm.clock() - start
  return { name = kind.name, workers = #pool, seconds = seconds,
    results = results, count = found:value() }
end

-- The levels of each point as a list, as the tasks return them, and how many
-- there are in all. After the last level of a row there is nan.
local function lists(array)
  local results, count = { n = #array }, 0
  for i = 1, #array do
    local levels = {}
    for n = 1, ROOM do
      local level = array:get(i, n)
      levels[n] = level == level and level or nil
    end
    results[i], count = levels, count + #levels
  end
  return results, count
end

-- Solves every point with the kernel. The time has the making of the pool and
-- the arrays in it, and not the compiling, which happens once on a machine.
local function sweep_kernel(kernel, kind, mesh, points)
  local start = tm.clock()
  local pool = kind.make()
  local array = schroedinger_kernel.levels(kernel, pool, mesh, well, points,
    ROOM)
  local seconds = tm.clock() - start
  local results, count = lists(array)
  return { name = "C, " .. kind.name, workers = #pool, seconds = seconds,
    results = results, count = count, tolerance = KERNEL_TO_LUA }
end

-- Compares the levels of a sweep with the exact roots.
local function report_accuracy(points, run)
  local levels, worst = 0, 0
  for i, point in ipairs(points) do
    local _, top = well.edges(point.k)
    for n, exact in ipairs(well.exact(point.width, point.k)) do
      if exact < top - BOUND then
        local level = run.results[i][n]
        check(level, "level %d of point %d is missing", n, i)
        worst = math.max(worst, math.abs(relative(level, exact)))
        levels = levels + 1
      end
    end
  end
  print(("\n%d of %d levels are bound by more than %g meV: all within %.1e of "
    .. "exact"):format(levels, run.count, 1000 * BOUND, worst))
  check(worst < TO_EXACT, "a level of the sweep is off the exact one")
end

-- All the numbers of a sweep as bytes: equal strings are equal to the last bit.
local function bits(run)
  local parts = {}
  for i = 1, run.results.n do
    local levels = run.results[i]
    parts[i] = string.pack("<j" .. ("d"):rep(#levels), #levels,
      table.unpack(levels))
  end
  return table.concat(parts)
end

-- The largest relative difference of two sweeps' levels; infinite when a point
-- has more levels in one of them.
local function deviation(run, reference)
  local worst = 0.0
  for i = 1, reference.results.n do
    local levels, expected = run.results[i], reference.results[i]
    if #levels ~= #expected then return math.huge end
    for n, energy in ipairs(expected) do
      worst = math.max(worst, math.abs(relative(levels[n], energy)))
    end
  end
  return worst
end

-- How the numbers compare, in words, and whether they pass.
local function compare(run, reference)
  if run == reference then return "the reference", true end
  if bits(run) == bits(reference) then
    return "the same to the last bit", true
  end
  local worst = deviation(run, reference)
  if worst < (run.tolerance or 0) then
    return ("within %.1e of the reference"):format(worst), true
  end
  return "DIFFERENT", false
end

local function report_run(run, reference)
  local verdict, passes = compare(run, reference)
  print(("%-14s %7d  %8.3f  %7.2fx  %s"):format(run.name, run.workers,
    run.seconds, reference.seconds / run.seconds, verdict))
  check(passes, "%s and %s give different numbers", run.name, reference.name)
  check(run.count == reference.count, "%s counted %d levels, %s %d",
    run.name, run.count, reference.name, reference.count)
end

local function report_runs(runs)
  print(("\n%d widths x %d wave vectors = %d points; CPUs: %s; best of %d runs")
    :format(WIDTHS, WAVE_VECTORS, WIDTHS * WAVE_VECTORS, tm.cpus().usable,
      ROUNDS))
  print "solver, pool   workers    time/s  speed-up  numbers"
  for _, run in ipairs(runs) do
    report_run(run, runs[1])
  end
end

-- The subbands of the nominal width: for each level, its energies over k.
local function subbands(points, run, count)
  local ks, bands = {}, {}
  for n = 1, count do
    bands[n] = {}
  end
  for j = 1, WAVE_VECTORS do
    local i = (NOMINAL - 1) * WAVE_VECTORS + j
    ks[j] = points[i].k
    for n = 1, count do
      bands[n][j] = run.results[i][n]
    end
  end
  return ks, bands
end

-- Stores the subbands for other programs.
local function save_subbands(path, ks, bands)
  local rows = tm.array("f64", { #ks, 1 + #bands }):fill(0 / 0)
  for j, k in ipairs(ks) do
    rows:set(j, 1, k)
    for n = 1, #bands do
      if bands[n][j] then rows:set(j, 1 + n, bands[n][j]) end
    end
  end
  rows:save(path)
end

-- Appends the sweeps of the kernel to the list, or says why there are none.
local function add_kernel_runs(runs, mesh, points)
  local kernel, reason = schroedinger_kernel.compile()
  if not kernel then
    print("\nno rows for the solver in C: " .. reason)
    return
  end
  local first = #runs + 1
  for _, kind in ipairs(POOLS) do
    runs[#runs + 1] = sweep_kernel(kernel, kind, mesh, points)
  end
  for i = first + 1, #runs do
    check(bits(runs[i]) == bits(runs[first]),
      "%s and %s give different numbers", runs[i].name, runs[first].name)
  end
end

local function main()
  -- Found out now, not after the sweep.
  local file, reason = io.open(OUTPUT, "a")
  check(file, "cannot write the picture: %s", reason)
  file:close()

  local mesh = schroedinger.Mesh.new {
    well = 20, barrier = 16, thickness = 60, growth = 1.35 }
  local states = schroedinger.states(mesh, well, well.width, 0)
  local levels = {}
  for n, state in ipairs(states) do
    levels[n] = state.energy
  end
  report_levels(levels)

  local points = sweep_points()
  local runs = {}
  for _ = 1, ROUNDS do
    for i, kind in ipairs(POOLS) do
      local run = sweep(kind, mesh, points)
      if not runs[i] or run.seconds < runs[i].seconds then runs[i] = run end
    end
  end
  add_kernel_runs(runs, mesh, points)
  report_runs(runs)
  report_accuracy(points, runs[1])

  local ks, bands = subbands(points, runs[1], #states)
  picture.write(OUTPUT, well, states, ks, bands)
  save_subbands(NPY, ks, bands)
  print("wrote " .. OUTPUT .. " and " .. NPY)
end

main()
