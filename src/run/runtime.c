#include "run/runtime.h"

#include <string.h>

const char *tm_version(void) { return TM_VERSION; }

void tm_config_init(tm_config *c) { *c = (tm_config){0}; }

static int check(const tm_config *c, tm_error *e) {
  if (c->threads < 0)
    return tm__fail(e, TM_EINVAL, "threads must be 0 or more (got %d)",
                    c->threads);
  if (c->flags & ~(TM_USE_SIGNALS | TM_USE_CONFIG))
    return tm__fail(e, TM_EINVAL, "unknown flags 0x%x", c->flags);
  return TM_OK;
}

/* Recursive: a shared pool is made under it, and forks its workers. */
static void init_lock(tm_runtime *rt) {
  pthread_mutexattr_t recursive;
  pthread_mutexattr_init(&recursive);
  pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&rt->lock, &recursive);
  pthread_mutexattr_destroy(&recursive);
}

static tm_runtime *allocate(const tm_config *c) {
  tm__mem mem = {.fn = c->alloc ? c->alloc : tm__heap_alloc,
                 .user = c->alloc_user};
  tm_runtime *rt = tm__calloc(&mem, 1, sizeof *rt);
  if (!rt) return NULL;
  rt->mem = mem;
  rt->flags = c->flags;
  atomic_init(&rt->refs, 1);
  atomic_init(&rt->awake, 1);
  atomic_init(&rt->pin, TM__PIN_AUTO);
  tm__cpus_read(&rt->cpus);
  tm__mask_get(&rt->mask);
  tm__kernels_init(&rt->kernels, &rt->mem);
  atomic_init(&rt->threads, c->threads ? c->threads : rt->cpus.usable);
  atomic_init(&rt->processes, rt->cpus.usable);
  init_lock(rt);
  tm__maps_init(&rt->maps, &rt->mem);
  return rt;
}

static bool make_numbers(tm_runtime *rt) {
  rt->numbers = tm__calloc(tm__arena_mem(rt->arena), 1, sizeof *rt->numbers);
  return rt->numbers != NULL;
}

static void release(tm_runtime *rt) {
  tm__mem mem = rt->mem;
  tm__kernels_term(&rt->kernels);
  pthread_mutex_destroy(&rt->lock);
  tm__maps_term(&rt->maps);
  tm__free(&mem, rt);
}

int tm_runtime_new(tm_runtime **out, const tm_config *given, tm_error *e) {
  tm_config defaults;
  tm_config_init(&defaults);
  const tm_config *c = given ? given : &defaults;
  *out = NULL;
  int status = check(c, e);
  if (status) return status;
  tm_runtime *rt = allocate(c);
  if (!rt) return tm__fail(e, TM_ENOMEM, "not enough memory for a runtime");
  status = tm__log_init(&rt->log, &rt->mem, c->log, c->log_user, e);
  if (status) goto no_log;
  status = tm__arena_new(&rt->arena, &rt->mem, c->arena_size, e);
  if (status) goto no_arena;
  status = tm__store_new(&rt->store, &rt->mem, rt->arena, e);
  if (status) goto no_store;
  status = TM_ENOMEM;
  if (!make_numbers(rt)) goto no_monitor;
  status = tm__monitor_init(&rt->monitor, &rt->mem, e);
  if (status) goto no_monitor;
  if (c->flags & TM_USE_SIGNALS) status = tm__worker_install_signal(e);
  if (status) goto no_signal;
  *out = rt;
  return TM_OK;
no_signal:
  tm__monitor_term(&rt->monitor);
no_monitor:
  tm__store_free(rt->store);
no_store:
  tm__arena_free(rt->arena);
no_arena:
  tm__log_term(&rt->log);
no_log:
  release(rt);
  return status;
}

/* Lets go of pools in the list that were joined. */
static void prune_retired(tm_runtime *rt) {
  tm__pool **at = &rt->retired;
  while (*at) {
    tm__pool *pool = *at;
    if (atomic_load(&pool->joined)) {
      *at = pool->retired_next;
      tm__pool_unref(pool);
    } else {
      at = &pool->retired_next;
    }
  }
}

/* A shared pool leaves its place; its jobs may go on. rt->lock is held. */
static void retire(tm_runtime *rt, int kind) {
  tm__pool *pool = rt->shared[kind];
  prune_retired(rt);
  rt->shared[kind] = NULL;
  if (!pool) return;
  pool->retired_next = rt->retired;
  rt->retired = pool;
}

static tm__pool *take_retired(tm_runtime *rt) {
  pthread_mutex_lock(&rt->lock);
  rt->closed = true;
  for (int i = 0; i < TM__SHARED_COUNT; i++) retire(rt, i);
  tm__pool *pool = rt->retired;
  rt->retired = NULL;
  pthread_mutex_unlock(&rt->lock);
  return pool;
}

void tm_runtime_free(tm_runtime *rt) {
  if (!rt) return;
  tm__pool *pool = take_retired(rt);
  while (pool) {
    tm__pool *next = pool->retired_next;
    tm__pool_terminate(pool);
    tm__pool_join(pool, NULL, NULL);
    tm__pool_unref(pool);
    pool = next;
  }
  tm__runtime_unref(rt);
}

tm_runtime *tm__runtime_ref(tm_runtime *rt) {
  atomic_fetch_add(&rt->refs, 1);
  return rt;
}

void tm__runtime_unref(tm_runtime *rt) {
  if (atomic_fetch_sub(&rt->refs, 1) != 1) return;
  tm__monitor_term(&rt->monitor);
  tm__msg_unref(rt->settings, &rt->mem, rt->store);
  tm__store_free(rt->store);
  tm__arena_free(rt->arena);
  tm__log_term(&rt->log);
  release(rt);
}

int tm_interrupt(tm_runtime *rt, int request) {
  return atomic_exchange(&rt->interrupted, request != 0);
}

int tm_kernel_register(tm_runtime *rt, const tm_kernel *kernel, tm_error *e) {
  if (!rt || !kernel)
    return tm__fail(e, TM_EINVAL, "tm_kernel_register: a null argument");
  return tm__kernels_add(&rt->kernels, kernel, e);
}

int tm__runtime_arena(tm_runtime *rt, size_t size, tm_error *e) {
  tm__arena *arena;
  tm__store *store;
  if (tm__store_count(rt->store))
    return tm__fail(e, TM_EINVAL,
                    "arena_size can be set only before anything is stored");
  int status = tm__arena_new(&arena, &rt->mem, size, e);
  if (status) return status;
  status = tm__store_new(&store, &rt->mem, arena, e);
  if (status) {
    tm__arena_free(arena);
    return status;
  }
  tm__numbers before = {.uid = atomic_load(&rt->numbers->uid),
                        .job = atomic_load(&rt->numbers->job)};
  tm__store_free(rt->store);
  tm__arena_free(rt->arena);
  rt->store = store;
  rt->arena = arena;
  if (!make_numbers(rt)) return tm__fail(e, TM_ENOMEM, "the arena is too small");
  atomic_store(&rt->numbers->uid, before.uid);
  atomic_store(&rt->numbers->job, before.job);
  return TM_OK;
}

uint64_t tm__runtime_uid(tm_runtime *rt) {
  return atomic_fetch_add(&rt->numbers->uid, 1) + 1;
}

uint64_t tm__runtime_job(tm_runtime *rt) {
  return atomic_fetch_add(&rt->numbers->job, 1) + 1;
}

/* ---- fork ---- */

/* In the order in which they are taken elsewhere. */
void tm__runtime_before_fork(tm_runtime *rt) {
  pthread_mutex_lock(&rt->lock);
  tm__kernels_before_fork(&rt->kernels);
  tm__maps_before_fork(&rt->maps);
  tm__log_before_fork(&rt->log);
}

void tm__runtime_after_fork(tm_runtime *rt) {
  tm__log_after_fork(&rt->log);
  tm__maps_after_fork(&rt->maps);
  tm__kernels_after_fork(&rt->kernels);
  pthread_mutex_unlock(&rt->lock);
}

void tm__runtime_child(tm_runtime *rt, tm__pool *pool, tm__ledger *ledger) {
  tm__runtime_after_fork(rt);
  init_lock(rt);
  tm__arena_child(rt->arena);
  tm__store_child(rt->store, ledger);
  tm__monitor_child(&rt->monitor);
  for (int i = 0; i < TM__SHARED_COUNT; i++) rt->shared[i] = NULL;
  rt->retired = NULL;
  atomic_store(&rt->awake, 1);
  atomic_store(&rt->interrupted, 0);
  pthread_mutex_init(&pool->roster, NULL);
  pthread_mutex_init(&pool->lock, NULL);
}

int tm__runtime_shared(tm_runtime *rt, int kind,
                       const tm__pool_options *options, tm__pool **out,
                       tm_error *e) {
  int status = TM_OK;
  pthread_mutex_lock(&rt->lock);
  tm__pool *pool = rt->shared[kind];
  if (rt->closed) {
    tm__msg_unref(options->initializer, &rt->mem, rt->store);
    status = tm__fail(e, TM_ECLOSED, "the runtime is closed");
  } else if (!pool || tm__pool_state_of(pool) != TM__OPEN) {
    retire(rt, kind);
    status = tm__pool_new(&rt->shared[kind], rt, options, e);
    pool = rt->shared[kind];
  } else {
    tm__msg_unref(options->initializer, &rt->mem, rt->store);
  }
  *out = status ? NULL : tm__pool_ref(pool);
  pthread_mutex_unlock(&rt->lock);
  return status;
}
