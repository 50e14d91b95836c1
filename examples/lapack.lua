--- Eigenvalues of many small Hermitian matrices with LAPACK, on every core.
---
--- An electron on a ring of SITES sites hops to its neighbours; a magnetic flux
--- through the ring gives each hop a phase. A kernel, C text in this script,
--- builds the Hamiltonian for many fluxes, with random energies on the sites;
--- another calls LAPACK's zheev for each, in the scratch memory of its worker.
--- Checked: the clean ring, whose levels are -2 cos((2 pi k + flux)/SITES); the
--- sums of the eigenvalues and of their squares; and that one worker and all of
--- them give the same bits. Exit status 1 if a check fails, 0 with a line that
--- says so when LAPACK is not installed.
---
---     tidemill examples/lapack.lua [number of matrices, default 10000]

local tm = require "tidemill"

local SITES = 32
local DISORDER = 1 -- site energies are between -1/2 and 1/2, in hops
-- The largest error of a level that passes, in hops: some 1000 roundings.
local EXACT = 1e-14 * SITES

local SOURCE = [[
  #include <math.h>
  #include <string.h>

  /* Fortran passes the lengths of strings after the arguments. */
  void zheev_(const char *jobz, const char *uplo, const int *n, tm_c128 *a,
              const int *lda, double *w, tm_c128 *work, const int *lwork,
              double *rwork, int *info, size_t jobz_length,
              size_t uplo_length);

  /* What zheev needs: the matrix, which it destroys, and two work arrays. */
  typedef struct workspace {
    tm_c128 a[SITES * SITES], work[2 * SITES];
    double rwork[3 * SITES];
  } workspace;

  static int levels(const tm_call *c, const tm_arg *arg) {
    workspace *s = c->scratch;
    const int n = SITES, lwork = 2 * SITES;
    int info;
    memcpy(s->a, arg[1].c128 + c->first * n * n, sizeof s->a);
    /* LAPACK reads columns where we have rows: the transpose, which has the
       same eigenvalues. */
    zheev_("N", "U", &n, s->a, &n, arg[0].f64 + c->first * n, s->work, &lwork,
           s->rwork, &info, 1, 1);
    if (info) return c->fail(c, c->first, "zheev says %d", info);
    return 0;
  }

  /* A number in [-1/2, 1/2) that depends on its index alone (splitmix64). */
  static double noise(uint64_t i) {
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53 - 0.5;
  }

  static int build(const tm_call *c, const tm_arg *arg) {
    tm_c128 *a = arg[0].c128 + c->first * SITES * SITES;
    const double phase = arg[1].f64[c->first] / SITES;
    for (int i = 0; i < SITES; i++) {
      const int j = (i + 1) % SITES;
      a[i * SITES + i].re =
          arg[2].f * noise((uint64_t)(c->first * SITES + i));
      a[i * SITES + j] = (tm_c128){-cos(phase), -sin(phase)};
      a[j * SITES + i] = (tm_c128){-cos(phase), sin(phase)};
    }
    return 0;
  }

  /* How far the sum of the levels is off the trace, and the sum of their
     squares off that of the elements. */
  static int deviation(const tm_call *c, const tm_arg *arg) {
    for (int64_t i = c->first; i < c->last; i++) {
      const tm_c128 *a = arg[1].c128 + i * SITES * SITES;
      double sum = 0, squares = 0;
      for (int k = 0; k < SITES; k++) {
        const double w = arg[0].f64[i * SITES + k];
        sum += w - a[k * (SITES + 1)].re;
        squares += w * w;
      }
      for (int k = 0; k < SITES * SITES; k++)
        squares -= a[k].re * a[k].re + a[k].im * a[k].im;
      c->acc.f64[0] = fmax(c->acc.f64[0], fabs(sum));
      c->acc.f64[1] = fmax(c->acc.f64[1], fabs(squares));
    }
    return 0;
  }

  static int differ(const tm_call *c, const tm_arg *arg) {
    for (int64_t i = c->first; i < c->last; i++)
      *c->acc.i64 += memcmp(arg[0].f64 + i * SITES, arg[1].f64 + i * SITES,
                            SITES * sizeof(double)) != 0;
    return 0;
  }

  TM_KERNELS(
    TM_ITEM(levels, "f64[#,SITES] w, const c128[#,SITES,SITES] a",
            .scratch = sizeof(workspace)),
    TM_ITEM(build, "c128[#,SITES,SITES] a, const f64[#] flux, f64 disorder"),
    TM_RANGE(deviation, "const f64[#,SITES] w, const c128[#,SITES,SITES] a",
             .reduce = "max f64[2]"),
    TM_RANGE(differ, "const f64[#,SITES] w, const f64[#,SITES] v",
             .reduce = "sum i64")
  );
]]

local function check(condition, message, ...)
  if not condition then
    io.stderr:write("lapack: ", message:format(...), "\n")
    os.exit(1, true)
  end
end

-- Loads LAPACK for what is loaded after it ("*"): the kernels find zheev_ there
-- and need nothing to link with, so the development package may be missing.
local function load_lapack()
  local reason
  for _, name in ipairs { "liblapack.so.3", "liblapack.so" } do
    local loaded, message = package.loadlib(name, "*")
    if loaded then return name end
    reason = reason or message
  end
  print("LAPACK is not installed, nothing to do: " .. reason)
  os.exit(0, true)
end

-- The Hamiltonians for fluxes from 0 up to one quantum, 2 pi.
local function rings(kernels, count, disorder)
  local fluxes = tm.array("f64", count)
  for i = 1, count do
    fluxes[i] = 2 * math.pi * (i - 1) / count
  end
  local matrices = tm.array("c128", { count, SITES, SITES })
  tm.thread_pool():run(kernels.build, count, matrices, fluxes, disorder)
  return matrices, fluxes
end

-- The time is that of the eigenvalues, without the making of the pool.
local function solve(name, pool, kernels, matrices)
  local levels = tm.array("f64", { #matrices, SITES })
  local start = tm.clock()
  pool:run(kernels.levels, #matrices, levels, matrices)
  return { name = name, workers = #pool, levels = levels,
    seconds = tm.clock() - start }
end

-- The levels of the clean ring are known.
local function report_clean(kernels)
  local count, worst = 100, 0
  local matrices, fluxes = rings(kernels, count, 0)
  local clean = solve("clean", tm.thread_pool(), kernels, matrices)
  for i = 1, count do
    local exact = {}
    for k = 1, SITES do
      exact[k] = -2 * math.cos((2 * math.pi * k + fluxes[i]) / SITES)
    end
    table.sort(exact)
    for k = 1, SITES do
      worst = math.max(worst, math.abs(clean.levels:get(i, k) - exact[k]))
    end
  end
  print(("clean ring: %d levels within %.1e of the exact ones"):format(
    count * SITES, worst))
  check(worst < EXACT, "the levels of the clean ring are off the exact ones")
end

local function report_run(kernels, run, reference)
  local differing = kernels.differ(#run.levels, run.levels, reference.levels)
  print(("%-12s %7d  %8.3f  %10.0f  %7.2fx  %s"):format(run.name, run.workers,
    run.seconds, #run.levels / run.seconds, reference.seconds / run.seconds,
    run == reference and "the reference"
      or differing == 0 and "the same to the last bit" or "DIFFERENT"))
  check(differing == 0, "%s and %s differ for %d matrices", run.name,
    reference.name, differing)
end

local function report_sums(kernels, run, matrices)
  local off = kernels.deviation(#matrices, run.levels, matrices)
  print(("\nsum of the levels within %.1e of the trace, of their squares "
    .. "within %.1e"):format(off[1], off[2]))
  check(off[1] < EXACT, "the levels do not add up to the trace")
  check(off[2] < EXACT * 4, "the squares of the levels do not add up")
end

local function main()
  local count = math.tointeger(tonumber(arg[1] or 10000))
  check(count and count > 0, "the number of matrices must be a positive "
    .. "integer (got '%s')", arg[1])
  print("zheev from " .. load_lapack())
  local kernels = tm.compile((SOURCE:gsub("SITES", SITES)))

  report_clean(kernels)
  local matrices = rings(kernels, count, DISORDER)
  print(("\n%d Hermitian matrices, %d x %d; CPUs: %s"):format(count, SITES,
    SITES, tm.cpus().usable))
  print "pool         workers    time/s  matrices/s  speed-up  levels"
  local serial = solve("FakePool", tm.FakePool(), kernels, matrices)
  report_run(kernels, serial, serial)
  local parallel = solve("thread pool", tm.thread_pool(), kernels, matrices)
  report_run(kernels, parallel, serial)
  report_sums(kernels, parallel, matrices)
end

main()
