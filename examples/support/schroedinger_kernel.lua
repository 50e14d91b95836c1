--- The levels of support/schroedinger.lua as a kernel: the same elements, band
--- factors and iterations, in C. Every sum and product is in the order that it
--- has there and in support/band.lua, so the numbers should differ in nothing;
--- what each function is for is said there.

local tm = require "tidemill"

local schroedinger_kernel = {}

local SOURCE = [[
#include <math.h>
#include <string.h>

enum { MOST_ELEMENTS = 64, MOST = 3 * MOST_ELEMENTS - 1, AHEAD = 3 };

/* a[0] is the diagonal, a[b][i] is the entry in row i, column i - b. Entries
   left of the first column, and the AHEAD rows after the last, are zeros, so
   that few loops ask whether a neighbour exists. */
typedef double band[4][MOST + AHEAD];
typedef double vector[MOST];

/* What a worker needs for a point. `factors` are those of the last shift.
   Levels are found from the lowest; the row of the result has room for
   `room`. */
typedef struct work {
  band h, s, factors;
  vector start, sx, y, sy;
  int64_t n;
  const tm_call *call;
  double *levels;
  int64_t found, room;
} work;

static const double stiffness[4][4] = {
  {148.0 / 40, -189.0 / 40, 54.0 / 40, -13.0 / 40},
  {-189.0 / 40, 432.0 / 40, -297.0 / 40, 54.0 / 40},
  {54.0 / 40, -297.0 / 40, 432.0 / 40, -189.0 / 40},
  {-13.0 / 40, 54.0 / 40, -189.0 / 40, 148.0 / 40}
};
static const double mass[4][4] = {
  {128.0 / 1680, 99.0 / 1680, -36.0 / 1680, 19.0 / 1680},
  {99.0 / 1680, 648.0 / 1680, -81.0 / 1680, -36.0 / 1680},
  {-36.0 / 1680, -81.0 / 1680, 648.0 / 1680, 99.0 / 1680},
  {19.0 / 1680, -36.0 / 1680, 99.0 / 1680, 128.0 / 1680}
};

/* The e-th element, from 0: its nodes are rows 3e - 1 to 3e + 2, without the
   walls of the box, -1 and n. */
static void add_element(band m, int64_t n, int64_t e, double s, double t) {
  int first = e == 0 ? 1 : 0, last = 3 * e + 2 == n ? 2 : 3;
  for (int a = first; a <= last; a++)
    for (int b = first; b <= a; b++) {
      double *entry = &m[a - b][3 * e - 1 + a];
      *entry = *entry + s * stiffness[a][b] + t * mass[a][b];
    }
}

static int64_t factor(work *w, double shift) {
  double (*a)[MOST + AHEAD] = w->h, (*b)[MOST + AHEAD] = w->s;
  double d1 = 1, d2 = 1, d3 = 1, p1 = 0, p2 = 0, q1 = 0;
  int64_t below = 0;
  for (int64_t i = 0; i < w->n; i++) {
    double c3 = a[3][i] - shift * b[3][i];
    double c2 = a[2][i] - shift * b[2][i] - c3 * q1;
    double c1 = a[1][i] - shift * b[1][i] - c3 * p2 - c2 * p1;
    double l1 = c1 / d1, l2 = c2 / d2, l3 = c3 / d3;
    double d = a[0][i] - shift * b[0][i] - c1 * l1 - c2 * l2 - c3 * l3;
    if (d < 0)
      below++;
    else if (d == 0)
      d = 0x1p-52 * a[0][i];
    w->factors[0][i] = d, w->factors[1][i] = l1;
    w->factors[2][i] = l2, w->factors[3][i] = l3;
    q1 = p1, p2 = l2, p1 = l1;
    d3 = d2, d2 = d1, d1 = d;
  }
  return below;
}

static void solve(const work *w, const double *y, double *x) {
  const double *d = w->factors[0], *l1 = w->factors[1];
  const double *l2 = w->factors[2], *l3 = w->factors[3];
  double u = 0, v = 0, t = 0;
  for (int64_t i = 0; i < w->n; i++) {
    double next = y[i] - l1[i] * u - l2[i] * v - l3[i] * t;
    t = v, v = u, u = next;
    x[i] = u;
  }
  u = v = t = 0;
  for (int64_t i = w->n - 1; i >= 0; i--) {
    double next = x[i] / d[i] - l1[i + 1] * u - l2[i + 2] * v - l3[i + 3] * t;
    t = v, v = u, u = next;
    x[i] = u;
  }
}

static int64_t at_least_0(int64_t i) { return i < 0 ? 0 : i; }

/* y = S x */
static void overlap(work *w, const double *x, double *y) {
  double (*a)[MOST + AHEAD] = w->s;
  for (int64_t i = 0; i < w->n; i++) y[i] = a[0][i] * x[i];
  for (int64_t i = 1; i < w->n; i++) {
    int64_t i1 = i - 1, i2 = at_least_0(i - 2), i3 = at_least_0(i - 3);
    y[i] = y[i] + a[1][i] * x[i1] + a[2][i] * x[i2] + a[3][i] * x[i3];
    y[i1] = y[i1] + a[1][i] * x[i];
    y[i2] = y[i2] + a[2][i] * x[i];
    y[i3] = y[i3] + a[3][i] * x[i];
  }
}

static double dot(const double *x, const double *y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum = sum + x[i] * y[i];
  return sum;
}

/* Leaves the new S y of norm 1 in w->sx. */
static double iterate(work *w, double shift, double *distance) {
  solve(w, w->sx, w->y);
  overlap(w, w->y, w->sy);
  double square = dot(w->y, w->sy, w->n);
  double energy = shift + dot(w->y, w->sx, w->n) / square;
  *distance = 1 / sqrt(square);
  for (int64_t i = 0; i < w->n; i++) w->sx[i] = *distance * w->sy[i];
  return energy;
}

static int refine(work *w, double lo, double hi, double shift, double *level) {
  double energy = shift, distance;
  memcpy(w->sx, w->start, sizeof w->sx);
  for (int i = 0; i < 3; i++) energy = iterate(w, shift, &distance);
  for (int i = 0; i < 8; i++) {
    if (energy <= lo || energy >= hi) return 0;
    shift = energy;
    factor(w, shift);
    energy = iterate(w, shift, &distance);
    if (distance < 1e-5 * energy) {
      *level = energy;
      return 1;
    }
  }
  return 0;
}

static int keep(work *w, double level) {
  if (w->found == w->room)
    return w->call->fail(w->call, w->call->first,
                         "more than %d levels", (int)w->room);
  w->levels[w->found++] = level;
  return 0;
}

static int search(work *w, double lo, int64_t below, double hi,
                  int64_t above) {
  if (above == below) return 0;
  double mid = (lo + hi) / 2, level;
  if (mid <= lo || mid >= hi)
    return w->call->fail(w->call, w->call->first,
                         "two levels closer than rounding");
  int64_t here = factor(w, mid);
  if (above - below == 1) {
    int upper = here == below;
    if (refine(w, upper ? mid : lo, upper ? hi : mid, mid, &level))
      return keep(w, level);
  }
  int failed = search(w, lo, below, mid, here);
  return failed ? failed : search(w, mid, here, hi, above);
}

/* A well and an in-plane wave vector, and the edges at that wave vector. */
typedef struct point {
  double width, inside, outside, bottom, top;
} point;

static void assemble(work *w, const point *p, const tm_arg *sizes,
                     const uint8_t *in_well) {
  memset(w, 0, sizeof *w);
  w->n = 3 * sizes->n - 1;
  for (int64_t e = 0; e < sizes->n; e++) {
    double size = sizes->f64[e];
    if (in_well[e]) {
      size = size * p->width;
      add_element(w->h, w->n, e, p->inside / size, p->bottom * size);
    } else {
      add_element(w->h, w->n, e, p->outside / size, p->top * size);
    }
    add_element(w->s, w->n, e, 0, size);
  }
  for (int64_t i = 0; i < w->n; i++) {
    double t = (double)(i + 1) * 0.6180339887;
    w->start[i] = 0.5 + (t - floor(t));
  }
}

static int levels(const tm_call *c, const tm_arg *a) {
  work *w = c->scratch;
  double k = a[2].f64[c->first], hbar2_2m0 = a[5].f, depth = a[6].f;
  double mass_well = a[7].f, mass_barrier = a[8].f, t = hbar2_2m0 * k * k;
  point p = {
    .width = a[1].f64[c->first],
    .inside = hbar2_2m0 / mass_well, .outside = hbar2_2m0 / mass_barrier,
    .bottom = t / mass_well, .top = depth + t / mass_barrier
  };
  if (a[3].n < 1 || a[3].n > MOST_ELEMENTS)
    return c->fail(c, c->first, "a mesh of %d elements, not 1 to %d",
                   (int)a[3].n, MOST_ELEMENTS);
  assemble(w, &p, &a[3], a[4].u8);
  w->call = c;
  w->room = a[0].shape[1];
  w->levels = a[0].f64 + c->first * w->room;
  for (int64_t i = 0; i < w->room; i++) w->levels[i] = NAN;
  return search(w, p.bottom, 0, p.top, factor(w, p.top));
}

TM_KERNELS(
  TM_ITEM(levels,
          "f64[#,*] levels, const f64[#] widths, const f64[#] wave_vectors, "
          "const f64[elements] sizes, const u8[elements] in_well, "
          "f64 hbar2_2m0, f64 depth, f64 mass_well, f64 mass_barrier",
          .scratch = sizeof(work))
);
]]

--- Compiles the kernel. A text that a compiler refuses is an error: only a
--- machine without a compiler may go on without the kernel.
---@return userdata|nil kernel nil without a C compiler
---@return string? reason
function schroedinger_kernel.compile()
  local ok, answer = pcall(tm.compile, SOURCE,
    { name = "levels", libs = "-lm" })
  if ok then return answer end
  local reason = tostring(answer)
  if reason:find "no C compiler" or reason:find "does not run" then
    return nil, reason
  end
  error(reason, 0)
end

--- Finds the bound levels of many points at once.
---@param kernel userdata from `compile`
---@param pool table where it runs
---@param mesh schroedinger.mesh
---@param well table as for `schroedinger.levels`, with its `depth`
---@param points { width: number, k: number }[]
---@param room integer columns of the result; more levels are an error
---@return table levels f64[points, room], eV, from the lowest, then nan
function schroedinger_kernel.levels(kernel, pool, mesh, well, points, room)
  local elements = mesh.elements
  local sizes = tm.array("f64", #elements)
  local in_well = tm.array("u8", #elements)
  for e, element in ipairs(elements) do
    sizes[e], in_well[e] = element.size, element.inside and 1 or 0
  end
  local widths, ks = tm.array("f64", #points), tm.array("f64", #points)
  for i, point in ipairs(points) do
    widths[i], ks[i] = point.width, point.k
  end
  local levels = tm.array("f64", { #points, room })
  pool:run(kernel, #points, levels, widths, ks, sizes, in_well,
    well.HBAR2_2M0, well.depth, well.mass_well, well.mass_barrier)
  return levels
end

return schroedinger_kernel
