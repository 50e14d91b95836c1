--- The heat equation du/dt = D laplace(u) on the unit square, on every core.
---
--- The inner loop is a kernel: C text in this script that does rows of the
--- explicit 5-point scheme. It is run by one worker and by a thread pool, and
--- both must give the same bits. The borders are kept at zero and the field
--- starts as sin(m pi x) sin(n pi y), which keeps its shape and decays as
--- exp(-D pi^2 (m^2 + n^2) t): this is checked too. A picture goes to heat.svg.
--- Exit status 1 if a check fails.
---
---     tidemill examples/heat.lua [grid 2048 [steps 300 [output folder]]]
---
--- The folder is build/ where there is one, else the working directory.

local folder = arg[0]:match "^(.*/)" or "./"
package.path = folder .. "?.lua;" .. package.path

local tm = require "tidemill"
local folder_of = require "support.folder"
local picture = require "support.heat_picture"

-- The mode, in half waves along x and y.
local M, N = 3, 2
local D = 1
-- D dt/dx^2: the scheme is stable up to 1/4.
local RATIO = 0.2

-- The largest relative errors that pass. A short run has hardly decayed, and
-- its amplitude would look right whatever the scheme does: so the rate of decay
-- is checked as well.
local TO_AMPLITUDE, TO_RATE = 1e-3, 1e-3
-- What the smallest grid can resolve that well, and how far: in a grid of 96,
-- after the mode has fallen by exp(-1), the amplitude is off by 7e-4.
local SMALLEST, LONGEST = 96, 1

local kernels = tm.compile [[
  #include <string.h>

  static int step(const tm_call *c, const tm_arg *a) {
    const int64_t nx = a[0].shape[1];
    const double ratio = a[2].f;
    for (int64_t y = c->first; y < c->last; y++) {
      double *restrict out = a[0].f64 + y * nx;
      const double *u = a[1].f64 + y * nx;
      const double *above = u - nx, *below = u + nx;
      for (int64_t x = 1; x < nx - 1; x++)
        out[x] = u[x] + ratio * (((above[x] + below[x]) +
                                  (u[x - 1] + u[x + 1])) - 4 * u[x]);
    }
    return 0;
  }

  static int differ(const tm_call *c, const tm_arg *a) {
    const int64_t nx = a[0].shape[1];
    for (int64_t i = c->first * nx; i < c->last * nx; i++)
      *c->acc.i64 += memcmp(a[0].f64 + i, a[1].f64 + i, sizeof(double)) != 0;
    return 0;
  }

  TM_KERNELS(
    TM_RANGE(step, "f64[ny,nx] out, const f64[ny,nx] u, f64 ratio"),
    TM_RANGE(differ, "const f64[#,nx] u, const f64[#,nx] v",
             .reduce = "sum i64")
  );
]]

local function check(condition, message, ...)
  if not condition then
    io.stderr:write("heat: ", message:format(...), "\n")
    os.exit(1, true)
  end
end

local function argument(i, name, default, least)
  local value = arg[i] and math.tointeger(tonumber(arg[i])) or default
  check(not arg[i] or math.tointeger(tonumber(arg[i])) and value >= least,
    "%s must be an integer of at least %d (got '%s')", name, least, arg[i])
  return value
end

-- sin(count pi x) at the points of the grid, both ends exactly zero.
local function half_waves(count, grid)
  local values = tm.array("f64", grid)
  for i = 2, grid - 1 do
    values[i] = math.sin(count * math.pi * (i - 1) / (grid - 1))
  end
  return values
end

local function mode(grid)
  local along_x, along_y = half_waves(M, grid), half_waves(N, grid)
  local field = tm.array("f64", { grid, grid })
  for y = 1, grid do
    field[y] = along_x
    field[y]:scale(along_y[y])
  end
  return field
end

-- Steps a copy of the field in a pool. The time is that of the steps alone.
local function run(name, pool, start, steps)
  -- Both have the borders, which are never written.
  local u, v = start:copy(), start:copy()
  local rows = { 1, #u - 1 }
  local began = tm.clock()
  for _ = 1, steps do
    pool:run(kernels.step, rows, v, u, RATIO)
    u, v = v, u
  end
  return { name = name, workers = #pool, seconds = tm.clock() - began,
    field = u }
end

local function report_run(result, reference, updates)
  local differing = kernels.differ(#result.field, result.field,
    reference.field)
  print(("%-12s %7d  %8.3f  %9.3e  %7.2fx  %s"):format(result.name,
    result.workers, result.seconds, updates / result.seconds,
    reference.seconds / result.seconds,
    result == reference and "the reference"
      or differing == 0 and "the same to the last bit" or "DIFFERENT"))
  check(differing == 0, "%s and %s differ in %d cells", result.name,
    reference.name, differing)
end

-- Compares the field with the mode that has fallen by exp(-decay).
local function report_accuracy(field, start, decay)
  local exact = math.exp(-decay)
  local amplitude = field:dot(start) / start:dot(start)
  local rest = start:copy():scale(-amplitude):add(field)
  local shape = math.max(rest:max(), -rest:min()) / exact
  local error = amplitude / exact - 1
  local rate = -math.log(amplitude) / decay - 1
  print(("\namplitude %.9f, exact %.9f"):format(amplitude, exact))
  print(("relative errors: amplitude %.1e, rate %.1e, shape %.1e"):format(
    error, rate, shape))
  check(math.abs(error) < TO_AMPLITUDE, "the amplitude is off the exact one")
  check(math.abs(rate) < TO_RATE, "the rate of decay is off the exact one")
  check(shape < TO_AMPLITUDE, "the field is not the mode any more")
end

local function main()
  local grid = argument(1, "grid", 2048, SMALLEST)
  local steps = argument(2, "steps", 300, 1)
  local output = folder_of(arg[3]) .. "heat.svg"
  -- Found out now, not after the run.
  local file, reason = io.open(output, "a")
  check(file, "cannot write the picture: %s", reason)
  file:close()

  local start = mode(grid)
  local time = steps * RATIO / D / (grid - 1) ^ 2
  local decay = D * math.pi ^ 2 * (M ^ 2 + N ^ 2) * time
  check(decay <= LONGEST, "too many steps for this grid: at most %d",
    steps * LONGEST // decay)
  local updates = steps * (grid - 2) ^ 2
  print(("%d x %d cells, %d steps; CPUs: %s"):format(grid, grid, steps,
    tm.cpus().usable))
  print "pool         workers    time/s  updates/s  speed-up  field"
  local serial = run("FakePool", tm.FakePool(), start, steps)
  report_run(serial, serial, updates)
  local parallel = run("thread pool", tm.thread_pool(), start, steps)
  report_run(parallel, serial, updates)

  report_accuracy(parallel.field, start, decay)
  picture.write(output, parallel.field, time)
  print("wrote " .. output)
end

main()
