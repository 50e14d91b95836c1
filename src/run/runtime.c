#include "run/runtime.h"

#include <string.h>

#include "run/config.h"
#include "run/region.h"
#include "run/worker.h"

const char *tm_version(void) { return TM_VERSION; }

int tm_abi(void) { return TM_ABI; }

/* The log of a host that wants none. */
static void drop_line(void *user, int level, const char *line) {
  (void)user;
  (void)level;
  (void)line;
}

static char *copy_text(const tm__mem *mem, const char *text) {
  size_t n = strlen(text) + 1;
  char *copy = tm__alloc(mem, n);
  return copy ? memcpy(copy, text, n) : NULL;
}

static void release(tm_runtime *rt) {
  tm__mem mem = rt->mem;
  tm__kernels_term(&rt->kernels);
  pthread_mutex_destroy(&rt->lock);
  pthread_mutex_destroy(&rt->making);
  tm__inboxes_term(&rt->inboxes);
  tm__maps_term(&rt->maps);
  tm__free(&mem, rt->command);
  tm__free(&mem, rt->log_file);
  tm__free(&mem, rt);
}

static void init_locks(tm_runtime *rt) {
  pthread_mutex_init(&rt->making, NULL);
  pthread_mutex_init(&rt->lock, NULL);
  tm__inboxes_init(&rt->inboxes);
}

static tm_runtime *allocate(const tm_config *c) {
  tm__mem mem = {.fn = c->alloc ? c->alloc : tm__heap_alloc,
                 .user = c->alloc_user};
  tm_runtime *rt = tm__calloc(&mem, 1, sizeof *rt);
  if (!rt) return NULL;
  rt->mem = mem;
  rt->pid = tm__pid();
  rt->flags = c->flags;
  rt->on_state = c->on_state;
  rt->on_state_user = c->on_state_user;
  atomic_init(&rt->start_method, c->start_method);
  atomic_init(&rt->closed, false);
  atomic_init(&rt->refs, 1);
  atomic_init(&rt->awake, 1);
  atomic_init(&rt->pin, TM__PIN_AUTO);
  tm__cpus_read(&rt->cpus);
  tm__mask_get(&rt->mask);
  tm__kernels_init(&rt->kernels, &rt->mem);
  atomic_init(&rt->threads, c->threads ? c->threads : rt->cpus.usable);
  atomic_init(&rt->processes, c->processes ? c->processes : rt->cpus.usable);
  init_locks(rt);
  tm__maps_init(&rt->maps, &rt->mem);
  if (c->command) rt->command = copy_text(&rt->mem, c->command);
  if (rt->command || !c->command) return rt;
  release(rt);
  return NULL;
}

static bool make_numbers(tm_runtime *rt) {
  rt->numbers = tm__calloc(tm__arena_mem(rt->arena), 1, sizeof *rt->numbers);
  if (rt->numbers) tm__log_share(&rt->log, &rt->numbers->log);
  return rt->numbers != NULL;
}

static void free_arena(tm_runtime *rt) {
  tm__log_share(&rt->log, &rt->log.own); /* lines may still come */
  tm__arena_free(rt->arena);
}

int tm_runtime_new(tm_runtime **out, const tm_config *given, tm_error *e) {
  tm_config config, *c = &config;
  if (!out) return tm__fail(e, TM_EINVAL, "tm_runtime_new: a null argument");
  *out = NULL;
  int status = tm__config_read(c, given, e);
  if (status) return status;
  if (!c->log && !(c->flags & TM_USE_STDERR)) c->log = drop_line;
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
  status = tm__monitor_init(&rt->monitor, &rt->mem, &rt->inboxes, e);
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
  free_arena(rt);
no_arena:
  tm__log_term(&rt->log);
no_log:
  release(rt);
  return status;
}

int tm__runtime_attach(tm_runtime **out, tm__arena *arena, uint64_t root,
                       tm__ledger *ledger, tm_error *e) {
  tm_config c;
  tm_config_init(&c);
  *out = NULL;
  tm_runtime *rt = allocate(&c);
  if (!rt) return tm__fail(e, TM_ENOMEM, "not enough memory for a runtime");
  rt->arena = arena;
  rt->flags = TM_USE_SIGNALS;
  int status = tm__log_init(&rt->log, &rt->mem, NULL, NULL, e);
  if (status) goto no_log;
  status = tm__store_attach(&rt->store, &rt->mem, arena, root, e);
  if (status) goto no_store;
  tm__store_child(rt->store, ledger);
  status = tm__monitor_init(&rt->monitor, &rt->mem, &rt->inboxes, e);
  if (status) goto no_monitor;
  status = tm__worker_install_signal(e);
  if (status) goto no_signal;
  *out = rt;
  return TM_OK;
no_signal:
  tm__monitor_term(&rt->monitor);
no_monitor:
  tm__store_free(rt->store);
no_store:
  tm__log_term(&rt->log);
no_log:
  release(rt);
  return status;
}

int tm__runtime_command(tm_runtime *rt, const char *path, tm_error *e) {
  char *copy = path ? copy_text(&rt->mem, path) : NULL;
  if (path && !copy)
    return tm__fail(e, TM_ENOMEM, "not enough memory for a path");
  pthread_mutex_lock(&rt->lock);
  char *before = rt->command;
  rt->command = copy;
  pthread_mutex_unlock(&rt->lock);
  tm__free(&rt->mem, before);
  return TM_OK;
}

/* Lets go of pools in the list that were joined. */
static void prune_retired(tm_runtime *rt) {
  tm__pool *joined = NULL;
  pthread_mutex_lock(&rt->lock);
  for (tm__pool **at = &rt->retired; *at;) {
    tm__pool *pool = *at;
    if (atomic_load(&pool->joined)) {
      *at = pool->retired_next;
      pool->retired_next = joined;
      joined = pool;
    } else {
      at = &pool->retired_next;
    }
  }
  pthread_mutex_unlock(&rt->lock);
  while (joined) {
    tm__pool *pool = joined;
    joined = pool->retired_next;
    tm__pool_unref(pool);
  }
}

/* A shared pool leaves its place; its jobs may go on. rt->lock is held. */
static void retire(tm_runtime *rt, int kind) {
  tm__pool *pool = rt->shared[kind];
  rt->shared[kind] = NULL;
  if (!pool) return;
  pool->retired_next = rt->retired;
  rt->retired = pool;
}

/* The host's own pools too: their handles are told, and left without. */
static void retire_owned(tm_runtime *rt) {
  while (rt->owned) {
    tm__owned *o = rt->owned;
    rt->owned = o->next;
    o->listed = false;
    atomic_store(&o->stopped, TM__FAIL_CANCELLED);
    o->pool->retired_next = rt->retired;
    rt->retired = tm__pool_ref(o->pool);
  }
}

static tm__pool *take_retired(tm_runtime *rt) {
  pthread_mutex_lock(&rt->lock);
  atomic_store(&rt->closed, true);
  for (int i = 0; i < TM__SHARED_COUNT; i++) retire(rt, i);
  retire_owned(rt);
  tm__pool *pool = rt->retired;
  rt->retired = NULL;
  pthread_mutex_unlock(&rt->lock);
  return pool;
}

static void close_pools(tm_runtime *rt) {
  tm__pool *first = take_retired(rt);
  for (tm__pool *p = first; p; p = p->retired_next) tm__pool_terminate(p);
  while (first) {
    tm__pool *next = first->retired_next;
    tm__pool_join(first, NULL, NULL);
    tm__pool_unref(first);
    first = next;
  }
}

static bool on_worker(const tm_runtime *rt) {
  const tm__worker *self = tm__worker_self();
  return self && self->pool->rt == rt;
}

/* An item ends what it runs in on no thread, whichever does it. */
static bool in_item(const tm_runtime *rt) {
  return on_worker(rt) || tm__region_inside(rt);
}

int tm_runtime_close(tm_runtime *rt, tm_error *e) {
  if (!rt) return tm__fail(e, TM_EINVAL, "tm_runtime_close: a null argument");
  if (in_item(rt))
    return tm__fail(e, TM_ETHREAD,
                    "a worker cannot close the runtime that it works for");
  if (tm__runtime_ours(rt)) close_pools(rt);
  return TM_OK;
}

static void *free_elsewhere(void *rt) {
  close_pools(rt);
  tm__inbox *box = atomic_load(&((tm_runtime *)rt)->inbox);
  if (box) tm__inbox_close(box);
  tm__runtime_unref(rt);
  return NULL;
}

/* A worker cannot await its own end. Where there is no thread to do it, the
   runtime stays. */
void tm_runtime_free(tm_runtime *rt) {
  pthread_t thread;
  if (!rt || !tm__runtime_ours(rt)) return;
  if (!on_worker(rt))
    free_elsewhere(rt);
  else if (pthread_create(&thread, NULL, free_elsewhere, rt) == 0)
    pthread_detach(thread);
}

tm_runtime *tm__runtime_ref(tm_runtime *rt) {
  atomic_fetch_add(&rt->refs, 1);
  return rt;
}

void tm__runtime_unref(tm_runtime *rt) {
  if (!tm__runtime_ours(rt)) return;
  if (atomic_fetch_sub(&rt->refs, 1) != 1) return;
  tm__monitor_term(&rt->monitor);
  tm__msg_unref(rt->settings, &rt->mem, rt->store);
  tm__inbox_unref(atomic_load(&rt->inbox));
  tm__store_free(rt->store);
  free_arena(rt);
  tm__log_term(&rt->log);
  release(rt);
}

int tm_interrupt(tm_runtime *rt, int request) {
  return rt ? atomic_exchange(&rt->interrupted, request != 0) : 0;
}

int tm_kernel_register_sized(tm_runtime *rt, const tm_kernel *kernel,
                             size_t size, tm_error *e) {
  tm_kernel known;
  if (!rt || !kernel)
    return tm__fail(e, TM_EINVAL, "tm_kernel_register: a null argument");
  if (atomic_load(&rt->closed))
    return tm__fail(e, TM_ECLOSED, "tm_kernel_register: the runtime is closed");
  if (!tm__kernel_entry(&known, kernel, size))
    return tm__fail(e, TM_EINVAL,
                    "tm_kernel_register: a tm_kernel of %zu bytes", size);
  return tm__kernels_add(&rt->kernels, &known, e);
}

/* Whether the arena has more than what the runtime itself puts there. */
static bool in_use(const tm_runtime *rt) {
  enum { OWN = 2 }; /* the store's root, the numbers */
  tm__arena_stats stats;
  tm__arena_stat(rt->arena, &stats);
  return tm__store_count(rt->store) || stats.blocks > OWN;
}

int tm__runtime_arena(tm_runtime *rt, size_t size, tm_error *e) {
  tm__arena *arena;
  tm__store *store;
  if (in_use(rt))
    return tm__fail(e, TM_EINVAL,
                    "arena_size can be set only before anything is stored or "
                    "run");
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
  free_arena(rt);
  rt->store = store;
  rt->arena = arena;
  if (!make_numbers(rt))
    return tm__fail(e, TM_ENOMEM, "the arena is too small");
  atomic_store(&rt->numbers->uid, before.uid);
  atomic_store(&rt->numbers->job, before.job);
  return TM_OK;
}

tm__inbox *tm__runtime_inbox(tm_runtime *rt) {
  tm__inbox *none = NULL, *box = atomic_load(&rt->inbox);
  if (box) return box;
  box = tm__inbox_new(&rt->inboxes, tm__arena_mem(rt->arena));
  if (!box || atomic_compare_exchange_strong(&rt->inbox, &none, box))
    return box;
  tm__inbox_unref(box);
  return none;
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
  rt->pid = tm__pid();
  init_locks(rt);
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

static void forget_initializer(tm_runtime *rt, const tm__pool_options *o) {
  tm__msg_unref(o->initializer, tm__pool_memory(rt, o->kind), rt->store);
}

/* The open pool of a kind, with a reference; NULL: there is none. One that is
   not open leaves its place. */
static tm__pool *take_shared(tm_runtime *rt, int kind) {
  pthread_mutex_lock(&rt->lock);
  tm__pool *pool = rt->shared[kind];
  bool open = pool && tm__pool_state_of(pool) == TM__OPEN;
  if (open)
    tm__pool_ref(pool);
  else if (pool)
    retire(rt, kind);
  pthread_mutex_unlock(&rt->lock);
  return open ? pool : NULL;
}

/* rt->lock is not held while workers are started: to fork, it is taken. */
static int make_shared(tm_runtime *rt, int kind,
                       const tm__pool_options *options, tm__pool **out,
                       tm_error *e) {
  tm__pool *pool;
  if (atomic_load(&rt->closed)) {
    forget_initializer(rt, options);
    return tm__fail(e, TM_ECLOSED, "the runtime is closed");
  }
  int status = tm__pool_new(&pool, rt, options, e);
  if (status) return status;
  pthread_mutex_lock(&rt->lock);
  bool closed = atomic_load(&rt->closed);
  if (!closed) rt->shared[kind] = tm__pool_ref(pool);
  pthread_mutex_unlock(&rt->lock);
  *out = pool;
  if (!closed) return TM_OK;
  tm__pool_terminate(pool);
  tm__pool_join(pool, NULL, NULL);
  pool->guest_user = NULL; /* the caller's still */
  tm__pool_unref(pool);
  *out = NULL;
  return tm__fail(e, TM_ECLOSED, "the runtime is closed");
}

int tm__runtime_shared(tm_runtime *rt, int kind,
                       const tm__pool_options *options, tm__pool **out,
                       tm_error *e) {
  int status = TM_OK;
  prune_retired(rt);
  pthread_mutex_lock(&rt->making);
  *out = take_shared(rt, kind);
  if (*out)
    forget_initializer(rt, options);
  else
    status = make_shared(rt, kind, options, out, e);
  pthread_mutex_unlock(&rt->making);
  return status;
}

int tm__runtime_own(tm_runtime *rt, tm__owned *o, tm__pool *pool, tm_error *e) {
  pthread_mutex_lock(&rt->lock);
  bool closed = atomic_load(&rt->closed);
  o->pool = pool;
  atomic_init(&o->stopped, 0);
  o->listed = !closed;
  if (!closed) {
    o->next = rt->owned;
    rt->owned = o;
  }
  pthread_mutex_unlock(&rt->lock);
  return closed ? tm__fail(e, TM_ECLOSED, "the runtime is closed") : TM_OK;
}

void tm__runtime_disown(tm_runtime *rt, tm__owned *o) {
  pthread_mutex_lock(&rt->lock);
  if (o->listed) {
    tm__owned **at = &rt->owned;
    while (*at != o) at = &(*at)->next;
    *at = o->next;
    o->listed = false;
  }
  pthread_mutex_unlock(&rt->lock);
}
