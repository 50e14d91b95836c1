/*
 * host.h: what the tests of the C API share; they see the public header alone
 *
 * CHECK as in check.h. The allocator counts what lives, and fails one request.
 */
#ifndef TM_SPEC_HOST_H
#define TM_SPEC_HOST_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tidemill.h"

static _Atomic int check_passed, check_failed;

#define CHECK(what) check_that(what, #what, __FILE__, __LINE__)

/* A call that goes well; its error is shown when it does not. */
#define WELL(call) check_well(call, #call, __FILE__, __LINE__)

static tm_error err;

static inline bool check_that(bool holds, const char *what, const char *file,
                              int line) {
  atomic_fetch_add(holds ? &check_passed : &check_failed, 1);
  if (!holds) fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
  return holds;
}

static inline bool check_well(int status, const char *what, const char *file,
                              int line) {
  if (status == TM_OK) return check_that(true, what, file, line);
  fprintf(stderr, "%s: %s\n", tm_status_name(status), err.text);
  return check_that(false, what, file, line);
}

static inline int check_done(void) {
  printf("%d passed, %d failed\n", check_passed, check_failed);
  return check_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* A call that fails with a code, and a text in which `part` is. */
#define FAILS(call, code, part)                                                \
  do {                                                                         \
    err.text[0] = '\0';                                                        \
    int status_ = (call);                                                      \
    if (!CHECK(status_ == (code)) || !CHECK(strstr(err.text, part)))           \
      fprintf(stderr, "%s: %s\n", tm_status_name(status_), err.text);          \
  } while (0)

/* Fails the request number fail_at (from 1; 0: none), and with `lasting` all
   after it. */
typedef struct heap {
  _Atomic long live, requests;
  _Atomic long fail_at;
  _Atomic bool lasting;
} heap;

static inline void *heap_alloc(void *user, void *ptr, size_t size) {
  heap *h = user;
  if (size == 0) {
    if (ptr) atomic_fetch_sub(&h->live, 1);
    free(ptr);
    return NULL;
  }
  long request = atomic_fetch_add(&h->requests, 1) + 1;
  long fail_at = atomic_load(&h->fail_at);
  if (fail_at && (request == fail_at || (h->lasting && request > fail_at)))
    return NULL;
  if (size > PTRDIFF_MAX / 4) return NULL; /* a sanitizer would abort */
  void *p = realloc(ptr, size);
  if (p && !ptr) atomic_fetch_add(&h->live, 1);
  return p;
}

/* A runtime with a small arena; NULL when there is none. */
static inline tm_runtime *new_runtime(heap *h) {
  tm_runtime *rt;
  tm_config c;
  tm_config_init(&c);
  c.threads = 2;
  c.arena_size = 1 << 22;
  if (h) {
    c.alloc = heap_alloc;
    c.alloc_user = h;
  }
  return tm_runtime_new(&rt, &c, &err) ? NULL : rt;
}

static inline tm_pool *new_pool(tm_runtime *rt, int kind) {
  tm_pool *pool;
  tm_pool_options o;
  tm_pool_options_init(&o);
  o.kind = kind;
  return tm_pool_new(&pool, rt, &o, &err) ? NULL : pool;
}

static inline bool readable(int fd, int ms) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  int n;
  do n = poll(&p, 1, ms);
  while (n < 0);
  return n == 1 && (p.revents & POLLIN);
}

/* ---- kernels ---- */

static inline int axpy(const tm_call *c, const tm_arg *a) {
  double *y = a[0].f64;
  const double *x = a[1].f64, s = a[2].f;
  for (int64_t i = c->first; i < c->last; i++) y[i] += s * x[i];
  return 0;
}

static inline int total(const tm_call *c, const tm_arg *a) {
  double s = 0;
  for (int64_t i = c->first; i < c->last; i++) s += a[0].f64[i];
  *c->acc.f64 += s;
  return 0;
}

static inline int refuse_7(const tm_call *c, const tm_arg *a) {
  (void)a;
  for (int64_t i = c->first; i < c->last; i++)
    if (i >= 7) return c->fail(c, i, "seven is %s", "too much");
  return 0;
}

/* Runs until it is cancelled; says that it has begun. */
static inline int endless(const tm_call *c, const tm_arg *a) {
  if (c->first < c->last) atomic_store((_Atomic int64_t *)a[0].i64, 1);
  while (!c->cancelled(c)) usleep(200);
  return 0;
}

static const tm_kernel kernels[] = {
    TM_RANGE(axpy, "f64[#] y, const f64[#] x, f64 s"),
    TM_RANGE(total, "const f64[#] x", .reduce = "sum f64"),
    TM_RANGE(refuse_7, ""), TM_RANGE(endless, "i64[1] begun")};

static inline void register_kernels(tm_runtime *rt) {
  for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
    WELL(tm_kernel_register(rt, &kernels[i], &err));
}

static inline tm_array *numbers(tm_runtime *rt, int64_t n) {
  tm_array *a;
  if (!WELL(tm_array_new(&a, rt, TM_F64, 1, &n, &err))) exit(EXIT_FAILURE);
  for (int64_t i = 0; i < n; i++) ((double *)tm_array_data(a))[i] = (double)i;
  return a;
}

static inline int square(const tm_call *c, const void *in, void *out,
                         void *user) {
  int64_t x = in ? *(const int64_t *)in : c->first;
  if (user) atomic_fetch_add((_Atomic int *)user, 1);
  if (out) *(int64_t *)out = x * x;
  return 0;
}

#endif
