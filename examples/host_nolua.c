/*
 * host_nolua.c: pools and kernels of a host that has nothing to do with Lua
 *
 *     cc -O2 host_nolua.c $(pkg-config --cflags --libs tidemill) -o host
 *
 * Three pieces of work, and each checks its numbers:
 *   - a range kernel with a reduction integrates 4 / (1 + x^2), which is pi;
 *   - an item kernel solves many tridiagonal systems, each in memory that its
 *     worker is lent;
 *   - an event loop, poll(2), takes samples from an instrument (a thread that
 *     writes to a pipe), starts a job for each block of them, and gets the
 *     results between them, when the runtime's descriptor says so.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <tidemill.h>
#include <unistd.h>

static tm_error error;

/* Prints what went wrong; answers whether it did. */
static int failed(int status) {
  if (status) fprintf(stderr, "%s: %s\n", tm_status_name(status), error.text);
  return status != TM_OK;
}

static int near(double x, double expected, double within) {
  return x - expected <= within && expected - x <= within;
}

/* ---- a reduction ------------------------------------------------------ */

/* The midpoint rule: item i is the strip from i / n to (i + 1) / n. */
static int circle(const tm_call *c, const tm_arg *a) {
  double width = 1 / (double)a[0].i, sum = 0;
  for (int64_t i = c->first; i < c->last; i++) {
    double x = ((double)i + 0.5) * width;
    sum += 4 / (1 + x * x) * width;
  }
  *c->acc.f64 += sum;
  return 0;
}

static int integrate(tm_pool *pool) {
  const double pi = 3.14159265358979323846;
  const int64_t strips = 4000000;
  tm_value n = tm_integer(strips);
  double sum;
  if (failed(tm_pool_run(pool, "circle", strips, &n, 1, &sum, sizeof sum, NULL,
                         &error)))
    return 1;
  printf("integral %.12f\n", sum);
  return !near(sum, pi, 1e-12);
}

/* ---- an item kernel --------------------------------------------------- */

enum { SYSTEMS = 500, UNKNOWNS = 100 };

/*
 * System number c->first: -x[k-1] + (2 + shift) x[k] - x[k+1] = 1, by
 * elimination (the algorithm of Thomas). c->scratch holds the diagonals.
 */
static int tridiagonal(const tm_call *c, const tm_arg *a) {
  double *x = a[0].f64 + c->first * UNKNOWNS, *upper = c->scratch;
  double middle = 2 + a[1].f64[c->first];
  if (middle < 2)
    return c->fail(c, c->first, "shift %g is negative", a[1].f64[c->first]);
  upper[0] = -1 / middle;
  x[0] = 1 / middle;
  for (int k = 1; k < UNKNOWNS; k++) {
    double pivot = middle + upper[k - 1];
    upper[k] = -1 / pivot;
    x[k] = (1 + x[k - 1]) / pivot;
  }
  for (int k = UNKNOWNS - 2; k >= 0; k--) x[k] -= upper[k] * x[k + 1];
  return 0;
}

static double residual(const double *x, double shift) {
  double most = 0;
  for (int k = 0; k < UNKNOWNS; k++) {
    double r = (2 + shift) * x[k] - 1;
    if (k > 0) r -= x[k - 1];
    if (k + 1 < UNKNOWNS) r -= x[k + 1];
    if (r < 0) r = -r;
    if (r > most) most = r;
  }
  return most;
}

/* Then one system that cannot be solved: the error names it. */
static int check_systems(tm_pool *pool, tm_array *x, tm_array *shifts) {
  tm_value args[] = {tm_array_value(x), tm_array_value(shifts)};
  double *shift = tm_array_data(shifts), worst = 0;
  for (int i = 0; i < SYSTEMS; i++) shift[i] = i * 0.01;
  if (failed(tm_pool_run(pool, "tridiagonal", SYSTEMS, args, 2, NULL, 0, NULL,
                         &error)))
    return 1;
  for (int i = 0; i < SYSTEMS; i++) {
    double r = residual((double *)tm_array_data(x) + i * UNKNOWNS, shift[i]);
    if (r > worst) worst = r;
  }
  printf("%d systems of %d, residual below 1e-10: %s\n", SYSTEMS, UNKNOWNS,
         worst < 1e-10 ? "yes" : "no");
  shift[321] = -1;
  int status =
      tm_pool_run(pool, "tridiagonal", SYSTEMS, args, 2, NULL, 0, NULL, &error);
  printf("%s: %s\n", tm_status_name(status), error.text);
  return worst >= 1e-10 || status != TM_EKERNEL;
}

static int solve(tm_runtime *rt, tm_pool *pool) {
  const int64_t shape[] = {SYSTEMS, UNKNOWNS};
  tm_array *x = NULL, *shifts = NULL;
  int wrong = failed(tm_array_new(&x, rt, TM_F64, 2, shape, &error)) ||
              failed(tm_array_new(&shifts, rt, TM_F64, 1, shape, &error)) ||
              check_systems(pool, x, shifts);
  tm_array_release(x);
  tm_array_release(shifts);
  return wrong;
}

/* ---- an event loop ---------------------------------------------------- */

enum { BLOCKS = 40, SAMPLES = 1000 };

/* A block of samples: an int each, squared by a map, then added up. */
typedef struct block {
  struct station *station;
  int samples[SAMPLES];
  int64_t squares[SAMPLES];
} block;

/* What the loop knows. Its thread alone uses it. */
typedef struct station {
  tm_pool *pool;
  int instrument; /* the pipe's end; -1: it has ended */
  int running;    /* jobs */
  int done, wrong;
  int64_t sum;
} station;

static int square(const tm_call *c, const void *in, void *out, void *user) {
  int x = *(const int *)in;
  (void)c, (void)user;
  *(int64_t *)out = (int64_t)x * x;
  return 0;
}

/* The instrument: samples 0, 1, 2 ... in blocks. */
static void *measure(void *arg) {
  int fd = *(int *)arg, samples[SAMPLES], next = 0;
  for (int b = 0; b < BLOCKS; b++) {
    for (int i = 0; i < SAMPLES; i++) samples[i] = next++;
    const char *p = (const char *)samples;
    size_t left = sizeof samples;
    while (left > 0) {
      ssize_t n = write(fd, p, left);
      if (n <= 0) break;
      p += n;
      left -= (size_t)n;
    }
  }
  close(fd);
  return NULL;
}

/* Called by tm_poll, in the loop. */
static void block_done(void *user, tm_job *job) {
  block *b = user;
  b->station->running--;
  b->station->done++;
  if (failed(tm_job_error(job, &error))) b->station->wrong++;
  for (int i = 0; i < SAMPLES; i++) b->station->sum += b->squares[i];
  tm_job_free(job);
  free(b);
}

static void submit(station *s, block *b) {
  tm_run_options options;
  tm_job *job;
  tm_run_options_init(&options);
  options.done = block_done;
  options.done_user = b;
  b->station = s;
  if (failed(tm_pool_map_async(&job, s->pool, square, NULL, SAMPLES, b->samples,
                               sizeof b->samples[0], b->squares,
                               sizeof b->squares[0], &options, &error))) {
    s->wrong++;
    free(b);
    return;
  }
  s->running++;
}

/* A block of the pipe's, or its end. */
static void receive(station *s) {
  block *b = malloc(sizeof *b);
  size_t got = 0;
  ssize_t n = 1;
  while (b && got < sizeof b->samples && n > 0) {
    n = read(s->instrument, (char *)b->samples + got, sizeof b->samples - got);
    if (n > 0) got += (size_t)n;
  }
  if (b && got == sizeof b->samples) {
    submit(s, b);
    return;
  }
  free(b);
  s->instrument = -1;
}

static void loop(tm_runtime *rt, station *s) {
  while (s->instrument >= 0 || s->running > 0) {
    struct pollfd fds[] = {{.fd = tm_fd(rt), .events = POLLIN},
                           {.fd = s->instrument, .events = POLLIN}};
    if (poll(fds, 2, -1) <= 0) continue;
    if (fds[0].revents) tm_poll(rt);
    if (fds[1].revents) receive(s);
  }
}

static int serve(tm_runtime *rt, tm_pool *pool) {
  const int64_t n = (int64_t)BLOCKS * SAMPLES;
  int ends[2];
  pthread_t instrument;
  if (pipe(ends) || pthread_create(&instrument, NULL, measure, &ends[1]))
    return perror("instrument"), 1;
  station s = {.pool = pool, .instrument = ends[0]};
  loop(rt, &s);
  pthread_join(instrument, NULL);
  close(ends[0]);
  printf("%d blocks, sum of squares %lld\n", s.done, (long long)s.sum);
  return s.wrong || s.sum != (n - 1) * n * (2 * n - 1) / 6;
}

/* ---- the whole -------------------------------------------------------- */

static const tm_kernel kernels[] = {
    TM_RANGE(circle, "i64 strips", .reduce = "sum f64"),
    TM_ITEM(tridiagonal, "f64[#,100] x, const f64[#] shift",
            .scratch = UNKNOWNS * sizeof(double))};

int main(void) {
  tm_runtime *rt = NULL;
  tm_pool *pool = NULL;
  int wrong = failed(tm_runtime_new(&rt, NULL, &error)) ||
              failed(tm_kernel_register(rt, &kernels[0], &error)) ||
              failed(tm_kernel_register(rt, &kernels[1], &error)) ||
              failed(tm_pool_new(&pool, rt, NULL, &error));
  wrong = wrong || integrate(pool) || solve(rt, pool) || serve(rt, pool);
  tm_pool_free(pool);
  tm_runtime_free(rt);
  if (wrong) fprintf(stderr, "something is wrong\n");
  return wrong;
}
