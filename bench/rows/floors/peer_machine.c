/* What the clock, a cache line's way and a wake-up cost. */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "measure.h"

static volatile double sink;
static int ball, rounds;
static cpu_set_t mask; /* that we began with */

static void clocks(int n) {
  for (int i = 0; i < n; i++) sink = measure_clock();
}

/* The n-th CPU that we may use, so that two threads do not share one. */
static void pin(int n) {
  cpu_set_t one;
  CPU_ZERO(&one);
  for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &mask) && n-- == 0) {
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      return;
    }
}

static void spin_until(int value) {
  while (__atomic_load_n(&ball, __ATOMIC_SEQ_CST) != value)
    ;
}

static void *spin_back(void *none) {
  pin(1);
  for (int i = 0; i < rounds; i++) {
    spin_until(2 * i + 1);
    __atomic_store_n(&ball, 2 * i + 2, __ATOMIC_SEQ_CST);
  }
  return none;
}

static void spin(void) {
  for (int i = 0; i < rounds; i++) {
    __atomic_store_n(&ball, 2 * i + 1, __ATOMIC_SEQ_CST);
    spin_until(2 * i + 2);
  }
}

static void sleep_until(int value) {
  for (;;) {
    int now = __atomic_load_n(&ball, __ATOMIC_SEQ_CST);
    if (now == value) return;
    syscall(SYS_futex, &ball, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
  }
}

static void wake_with(int value) {
  __atomic_store_n(&ball, value, __ATOMIC_SEQ_CST);
  syscall(SYS_futex, &ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *futex_back(void *none) {
  pin(1);
  for (int i = 0; i < rounds; i++) {
    sleep_until(2 * i + 1);
    wake_with(2 * i + 2);
  }
  return none;
}

static void futex(void) {
  for (int i = 0; i < rounds; i++) {
    wake_with(2 * i + 1);
    sleep_until(2 * i + 2);
  }
}

/* Seconds a round of two threads on two CPUs. */
static double play(int n, void *(*other)(void *), void (*own)(void)) {
  pthread_t thread;
  ball = 0;
  rounds = n;
  pthread_create(&thread, NULL, other, NULL);
  double began = measure_clock();
  own();
  double each = (measure_clock() - began) / n;
  pthread_join(thread, NULL);
  return each;
}

int main(void) {
  measure_say("clock", measure_each(100000, clocks));
  sched_getaffinity(0, sizeof mask, &mask);
  if (CPU_COUNT(&mask) < 2) return 0;
  pin(0);
  measure_say("line", play(200000, spin_back, spin));
  measure_say("futex", play(10000, futex_back, futex));
  return 0;
}
