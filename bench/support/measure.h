/*
 * measure.h: what peers in C and C++ are written with, as those in Lua with
 * measure.lua. Values are in seconds or plain numbers.
 */
#ifndef TM_BENCH_MEASURE_H
#define TM_BENCH_MEASURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline double measure_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline int measure_quick(void) {
  const char *quick = getenv("BENCH_QUICK");
  return quick && !strcmp(quick, "1");
}

static inline int measure_workers(void) {
  const char *workers = getenv("BENCH_WORKERS");
  return workers ? atoi(workers) : 2;
}

static inline void measure_say(const char *name, double value) {
  printf("%s\t\t%.9g\n", name, value);
}

static inline int measure_order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The value below which a share of the list lies; sorts the list. */
static inline double measure_quantile(double *list, int n, double share) {
  qsort(list, (size_t)n, sizeof *list, measure_order);
  int at = (int)(share * n);
  return list[at < n ? at : n - 1];
}

/* Seconds for each of n: f(n) once, then the median of 201 runs, or of as many
   (but 7) as fit in half a second. */
static inline double measure_each(int n, void (*f)(int n)) {
  enum { MOST = 201 };
  double list[MOST], start = measure_clock();
  int runs = 0;
  f(n);
  while (runs < MOST && (runs < 7 || measure_clock() < start + 0.5)) {
    double began = measure_clock();
    f(n);
    list[runs++] = (measure_clock() - began) / n;
  }
  return measure_quantile(list, runs, 0.5);
}

/* Busy work that no compiler removes, of a few nanoseconds a step. */
static inline double measure_burn(long steps) {
  double x = 1;
  for (long i = 0; i < steps; i++) {
    x = x * 0.999 + 0.001;
    __asm__ volatile("" : "+x"(x));
  }
  return x;
}

/* How many steps take so many seconds. */
static inline long measure_steps(double seconds) {
  double best = 1;
  for (int i = 0; i < 5; i++) {
    double began = measure_clock();
    measure_burn(100000);
    double each = (measure_clock() - began) / 100000;
    if (each < best) best = each;
  }
  return (long)(seconds / best);
}

/*
 * An item that waits until `goal` items have come, so that a region of as
 * many items as threads ends only when all threads have met. Gives up after
 * about a third of a millisecond: the other thread has no CPU.
 */
static inline void measure_meet(int *arrived, long goal) {
  __atomic_add_fetch(arrived, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 20000; i++) {
    if (__atomic_load_n(arrived, __ATOMIC_SEQ_CST) >= goal) return;
    __builtin_ia32_pause();
  }
}

/* ---- a region after a sleep ---- */

/* Work of one region, in 40 items, and what all programs take note of. */
enum { LATE_ITEMS = 40 };
static const double late_work = 400e-6;

typedef struct measure_late {
  long steps;   /* of an item */
  double began; /* of the region */
  int came;     /* whether another thread has begun an item */
  double first; /* when */
} measure_late;

static inline void late_sleep(measure_late *l) {
  struct timespec ms = {0, 1000000};
  nanosleep(&ms, NULL);
  l->came = 0;
  l->began = measure_clock();
}

static inline void late_item(measure_late *l, int other) {
  if (other && !__atomic_exchange_n(&l->came, 1, __ATOMIC_SEQ_CST))
    l->first = measure_clock();
  measure_burn(l->steps);
}

/* After the region: seconds until another thread began (or, when none did,
   all of it), and what the region took beyond its work over its threads. */
static inline void late_note(measure_late *l, double *wake, double *excess) {
  double took = measure_clock() - l->began;
  *wake = l->came ? l->first - l->began : took;
  *excess = took - late_work / measure_workers();
}

/* Per cent of a core that the process uses while its main thread sleeps. */
static inline double late_idle(measure_late *l) {
  double began = measure_clock();
  clock_t used = clock();
  for (int i = 0; i < (measure_quick() ? 200 : 500); i++) late_sleep(l);
  double cpu = (double)(clock() - used) / CLOCKS_PER_SEC;
  return cpu / (measure_clock() - began) * 100;
}

/* Sleeps, runs the region, and reports. */
static inline void late_measure(measure_late *l, void (*region)(void)) {
  enum { MOST = 600 };
  static double wakes[MOST], excesses[MOST];
  int n = measure_quick() ? 150 : MOST;
  l->steps = measure_steps(late_work / LATE_ITEMS);
  for (int i = 0; i < 10; i++) region();
  double began = measure_clock();
  clock_t used = clock();
  for (int i = 0; i < n; i++) {
    late_sleep(l);
    region();
    late_note(l, &wakes[i], &excesses[i]);
  }
  double cpu = (double)(clock() - used) / CLOCKS_PER_SEC - n * late_work;
  measure_say("burn", cpu / (measure_clock() - began) * 100);
  measure_say("wake50", measure_quantile(wakes, n, 0.5));
  measure_say("wake99", measure_quantile(wakes, n, 0.99));
  measure_say("excess50", measure_quantile(excesses, n, 0.5));
  measure_say("excess99", measure_quantile(excesses, n, 0.99));
  measure_say("idle", late_idle(l));
}

#endif
