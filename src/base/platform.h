/*
 * platform.h: what the operating system must give
 *
 * The one header that a port fills; #ifdefs live in its .c alone. Nothing
 * here keeps state.
 */
#ifndef TM_BASE_PLATFORM_H
#define TM_BASE_PLATFORM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/*
 * The CPUs that this process may really use. usable is the least of: CPUs
 * in the affinity mask, and the cgroup's quota (v2 cpu.max, v1
 * cpu.cfs_quota_us; every level up to the root) rounded up, at least 1.
 * why says in a few words which it was, e.g. "2 in the affinity mask" or
 * "cgroup quota of 1.5 CPUs". Never the number in the machine.
 */
typedef struct tm__cpus {
  int usable;
  int online;   /* in the machine */
  int affinity; /* in this process's mask */
  double quota; /* CPUs' worth of time; 0 when there is no limit */
  char why[80];
} tm__cpus;

void tm__cpus_read(tm__cpus *out);

/* The same from files below root ("" for the real ones) and a given size
   of mask, so that tests can show it cgroup trees. */
void tm__cpus_read_at(tm__cpus *out, const char *root, int affinity);

/* Bytes of memory that this process may use: the least of physical memory,
   the cgroup's limit (v2 memory.max, v1 memory.limit_in_bytes, every level)
   and RLIMIT_AS. */
uint64_t tm__memory_limit(void);
uint64_t tm__memory_limit_at(const char *root);

/* Whether this program runs in valgrind, as far as its environment says. */
bool tm__in_valgrind(void);

size_t tm__page_size(void);

/* This process, without a system call; right in each child that is forked after
   the first call, by whomever. */
int32_t tm__pid(void);

/* Nanoseconds of a clock that never goes back. About 20 ns a call. */
uint64_t tm__now(void);

/* The same clock as of the last tick (up to 4 ms ago). About 5 ns. */
uint64_t tm__now_coarse(void);

/* 64 bits that differ on each call, process and thread. */
uint64_t tm__entropy(void);

/* Tells the CPU that we spin. */
static inline void tm__relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

#define TM__FOREVER UINT64_MAX

/*
 * Sleeps while *word == expected, for at most timeout nanoseconds
 * (TM__FOREVER: no limit). Answers TM_OK when woken, or when *word differed,
 * or for no reason; TM_ETIMEOUT; TM_ECANCELLED when a signal came. `shared`
 * for words that other processes wake.
 */
int tm__futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout,
                   bool shared);

/* Wakes at most count sleepers on word; answers how many. */
int tm__futex_wake(_Atomic uint32_t *word, int count, bool shared);

/* The same within the process, without a time limit, for sleepers that some
   wakers tell apart: those wake only whom they share a bit with. tm__futex_wake
   wakes any. */
int tm__futex_wait_as(_Atomic uint32_t *word, uint32_t expected, uint32_t bits);
int tm__futex_wake_some(_Atomic uint32_t *word, int count, uint32_t bits);

/* The CPU that the calling thread runs on, or -1. About 3 ns. */
int tm__cpu(void);

/* Threads of this process but the calling one whose names do not begin with
   "tm-", as those of ours do. */
int tm__foreign_threads(void);

/* An opaque set of CPUs: this thread's mask. */
typedef struct tm__mask {
  unsigned long bits[1024 / (8 * sizeof(unsigned long))];
} tm__mask;

/* Reads and sets the calling thread's mask. Setting may fail quietly: a
   worker that cannot be pinned runs all the same. */
void tm__mask_get(tm__mask *out);
void tm__mask_set(const tm__mask *mask);

/* A mask of one CPU: the index-th (from 0, modulo their number) of all. */
void tm__mask_nth(tm__mask *out, const tm__mask *all, int index);

/* The index of a CPU among all; of one that is not in it, of the next. */
int tm__mask_index(const tm__mask *all, int cpu);

/* Reserves size bytes of zeroed memory that children made by fork share:
   a memfd, mapped without reserving swap. *fd stays open until unmap (which
   takes -1 for none). */
int tm__shared_map(void **base, int *fd, size_t size, tm_error *e);
void tm__shared_unmap(void *base, int fd, size_t size);

/* Maps the shared memory of another process, whose descriptor this one was
   given, at the address where it is there. TM_ESYS when something else is at
   that address here; fd is then still the caller's. */
int tm__shared_attach(void *base, int fd, size_t size, tm_error *e);

/* Gives the pages of [offset, offset + size) back; they read as zero. Both
   are multiples of the page size. */
int tm__shared_release(void *base, int fd, size_t offset, size_t size);

/* Whether a signal reaches a thread that computes. The thread sanitizer puts
   handlers off until the thread calls the C library. */
bool tm__signals_prompt(void);

/* The calling thread's name in debuggers and top; at most 15 characters. */
void tm__thread_name(const char *name);

/* Starts a thread that has its name when this returns, whether or not it ran
   already: threads of ours are told by their names. Answers an errno. */
int tm__thread_start(pthread_t *out, const char *name, void *(*main)(void *),
                     void *argument);

#endif
