/*
 * check.h: what the C tests share
 *
 * CHECK counts, from any thread, and says what failed; a test's main ends
 * with `return check_done();`.
 */
#ifndef TM_SPEC_CHECK_H
#define TM_SPEC_CHECK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"

/* Whether a sanitizer needs the address space that a test would limit. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHECK_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CHECK_SANITIZED 1
#endif
#endif
#ifndef CHECK_SANITIZED
#define CHECK_SANITIZED 0
#endif

/* Whether it is the one that lets no forked child start threads. */
#if defined(__SANITIZE_THREAD__)
#define CHECK_THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHECK_THREAD_SANITIZED 1
#endif
#endif
#ifndef CHECK_THREAD_SANITIZED
#define CHECK_THREAD_SANITIZED 0
#endif

static _Atomic int check_passed, check_failed;

#define CHECK(what) check_that(what, #what, __FILE__, __LINE__)

static inline bool check_that(bool holds, const char *what, const char *file,
                              int line) {
  atomic_fetch_add(holds ? &check_passed : &check_failed, 1);
  if (!holds) fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
  return holds;
}

static inline int check_done(void) {
  printf("%d passed, %d failed\n", check_passed, check_failed);
  return check_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Runs f(arg) in a child process; answers whether it returned true and no
   CHECK failed in it. */
static inline bool check_child(bool (*f)(void *arg), void *arg) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    check_failed = 0;
    _exit(f(arg) && !check_failed ? 0 : 1);
  }
  int status;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

/* An allocator that counts its blocks, and fails the request number
   fail_at (from 1; 0: none). Pass it as tm__mem.user. */
typedef struct check_heap {
  _Atomic long live, requests;
  long fail_at;
} check_heap;

static inline void *check_alloc(void *user, void *ptr, size_t size) {
  check_heap *h = user;
  if (size == 0) {
    if (ptr) atomic_fetch_sub(&h->live, 1);
    free(ptr);
    return NULL;
  }
  if (atomic_fetch_add(&h->requests, 1) + 1 == h->fail_at) return NULL;
  void *p = realloc(ptr, size);
  if (p && !ptr) atomic_fetch_add(&h->live, 1);
  return p;
}

#endif
