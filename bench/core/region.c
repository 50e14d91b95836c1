/*
 * region.c: what a region costs, next to libgomp in the same run
 *
 *   warm       an empty parallel loop of as many items as workers, one after
 *              the other; "met" are those in which two threads took part
 *   meeting    the same when the items wait for each other, so that a region
 *              ends only after the second thread came
 *   chunk      what one more chunk costs: of the caller alone, and of two
 *   imbalance  speed-up over one thread when the cost of an item grows with
 *              its number, with default schedules
 *
 * Two workers unless an argument says how many.
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/platform.h"
#include "run/region.h"
#include "run/runtime.h"

static int guest_open(tm__worker *w, void **state, tm_error *e) {
  (void)e;
  *state = w;
  return TM_OK;
}

static void guest_close(tm__worker *w, void *state) {
  (void)w;
  (void)state;
}

static const tm__guest guest = {.open = guest_open, .close = guest_close};

static int workers = 2;
static tm_runtime *rt;
static tm__pool *pool;

/* ---- kernels ---- */

static _Atomic int arrived;
static _Atomic int64_t met;

static int empty(const tm_call *c, const tm_arg *a) {
  (void)a;
  if (c->worker) atomic_fetch_add_explicit(&met, 1, memory_order_relaxed);
  return 0;
}

static int quiet(const tm_call *c, const tm_arg *a) {
  (void)c;
  (void)a;
  return 0;
}

/* Gives up where nobody comes: the other thread has no CPU. */
static void meet_all(void) {
  atomic_fetch_add(&arrived, 1);
  for (int i = 0; i < 20000 && atomic_load(&arrived) < workers; i++)
    tm__relax();
}

static int meeting(const tm_call *c, const tm_arg *a) {
  (void)c;
  (void)a;
  meet_all();
  return 0;
}

static double burn(int64_t steps) {
  double x = 1;
  for (int64_t i = 0; i < steps; i++) {
    x = x * 0.999 + 0.001;
    __asm__ volatile("" : "+x"(x));
  }
  return x;
}

static volatile double sink;

static int rising(const tm_call *c, const tm_arg *a) {
  double x = 0;
  (void)a;
  for (int64_t i = c->first; i < c->last; i++) x += burn(i);
  sink = x;
  return 0;
}

static tm__kernel *add(const char *name, tm_kernel_fn run) {
  tm_kernel k = {
      .name = name, .run = run, .kind = TM_KIND_RANGE, .signature = ""};
  tm_error e;
  if (tm__kernels_add(&rt->kernels, &k, &e)) {
    fprintf(stderr, "%s\n", e.text);
    exit(1);
  }
  return tm__kernels_find(&rt->kernels, NULL, name);
}

static void region(tm__pool *p, tm__kernel *k, int64_t n, int64_t chunk) {
  tm__call c;
  tm__region_options o = {.chunk = chunk};
  tm__call_init(&c, k, &rt->mem, NULL, 0, n, NULL);
  tm__region_run(p, &c, &o);
  tm__call_term(&c);
}

/* ---- measuring ---- */

enum { ROUNDS = 200, REGIONS = 200 };

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Nanoseconds of one call of f: the median of many rounds. */
static double median(void (*f)(void), int regions) {
  static double times[ROUNDS];
  for (int r = 0; r < ROUNDS; r++) {
    uint64_t begin = tm__now();
    for (int i = 0; i < regions; i++) f();
    times[r] = (double)(tm__now() - begin) / regions;
  }
  qsort(times, ROUNDS, sizeof *times, by_size);
  return times[ROUNDS / 2];
}

static tm__kernel *k_empty, *k_quiet, *k_meeting, *k_rising;

static void ours_warm(void) { region(pool, k_empty, workers, 1); }
static void ours_default(void) { region(pool, k_quiet, 1000, 0); }

static void ours_meeting(void) {
  atomic_store(&arrived, 0);
  region(pool, k_meeting, workers, 1);
}

static void omp_warm(void) {
#pragma omp parallel for schedule(static, 1) num_threads(workers)
  for (int i = 0; i < workers; i++)
    if (omp_get_thread_num())
      atomic_fetch_add_explicit(&met, 1, memory_order_relaxed);
}

static void omp_meeting(void) {
  atomic_store(&arrived, 0);
#pragma omp parallel num_threads(workers)
  meet_all();
}

enum { CHUNKS = 20000, ITEMS = 4000 };

static void ours_chunks(void) { region(pool, k_quiet, CHUNKS, 1); }
static void ours_chunks_alone(void) { region(NULL, k_quiet, CHUNKS, 1); }

static void omp_chunks(void) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(workers)
  for (int i = 0; i < CHUNKS; i++) __asm__ volatile("");
}

static void ours_rising(void) { region(pool, k_rising, ITEMS, 0); }
static void alone_rising(void) { region(NULL, k_rising, ITEMS, ITEMS); }

static void omp_rising(void) {
#pragma omp parallel for num_threads(workers)
  for (int i = 0; i < ITEMS; i++) sink = burn(i);
}

/* The best of a few: what the machine can do when nothing disturbs. */
static double best(void (*f)(void)) {
  double least = 1e18;
  for (int i = 0; i < 7; i++) {
    uint64_t begin = tm__now();
    f();
    double ns = (double)(tm__now() - begin);
    if (ns < least) least = ns;
  }
  return least;
}

static void compare(const char *what, double ours, double theirs) {
  printf("%-28s tidemill %8.1f ns   libgomp %8.1f ns   ratio %.2f\n", what,
         ours, theirs, ours / theirs);
}

static void report(void) {
  double rounds = (double)ROUNDS * REGIONS / 100;
  atomic_store(&met, 0);
  double ours = median(ours_warm, REGIONS);
  double share = (double)atomic_exchange(&met, 0) / rounds / (workers - 1);
  compare("warm region", ours, median(omp_warm, REGIONS));
  printf("%-28s tidemill %8.1f %%    libgomp %8.1f %%\n", "  of which met",
         share, (double)atomic_load(&met) / rounds / (workers - 1));
  printf("%-28s tidemill %8.1f ns\n", "default region, 1000 items",
         median(ours_default, REGIONS));
  compare("meeting", median(ours_meeting, REGIONS),
          median(omp_meeting, REGIONS));
  compare("chunk, all workers", median(ours_chunks, 1) / CHUNKS,
          median(omp_chunks, 1) / CHUNKS);
  printf("%-28s tidemill %8.1f ns\n", "chunk, caller alone",
         median(ours_chunks_alone, 1) / CHUNKS);
  double alone = best(alone_rising);
  double shared = best(ours_rising);
  printf("%-28s tidemill %8.2f x    libgomp %8.2f x    (%.1f ms alone)\n",
         "cost rises with i", alone / shared, alone / best(omp_rising),
         alone / 1e6);
}

int main(int argc, char **argv) {
  tm_error e;
  tm__pool_options o = {
      .kind = &tm__worker_thread, .guest = &guest, .pin = TM__PIN_AUTO};
  if (argc > 1) workers = atoi(argv[1]);
  o.workers = workers < 2 ? workers = 2 : workers;
  if (tm_runtime_new(&rt, NULL, &e) || tm__pool_new(&pool, rt, &o, &e)) {
    fprintf(stderr, "%s\n", e.text);
    return 1;
  }
  k_empty = add("empty", empty);
  k_quiet = add("quiet", quiet);
  k_meeting = add("meeting", meeting);
  k_rising = add("rising", rising);
  report();
  tm__pool_close(pool);
  tm__pool_join(pool, NULL, NULL);
  tm__pool_unref(pool);
  tm_runtime_free(rt);
  return 0;
}
