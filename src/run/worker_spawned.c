/*
 * worker_spawned.c: the worker's side of its start
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "run/spawned.h"

/* The command line, read. */
typedef struct orders {
  void *base;
  size_t size;
  uint64_t birth;
  int seat;
  bool watched, log;
} orders;

static uint64_t number(const char *text) { return strtoull(text, NULL, 16); }

static bool read_orders(int argc, char **argv, orders *o) {
  if (argc != 9 || strcmp(argv[2], TM_VERSION) != 0) return false;
  *o = (orders){.base = (void *)(uintptr_t)number(argv[3]),
                .size = (size_t)number(argv[4]),
                .birth = number(argv[5]),
                .seat = (int)number(argv[6]),
                .watched = number(argv[7]) != 0,
                .log = number(argv[8]) != 0};
  return true;
}

/* What else the script had open is not ours; nor our children's, what is. */
static void take_descriptors(const orders *o) {
  unsigned first = o->log ? TM__FREE_FD : TM__LOG_FD;
  syscall(SYS_close_range, first, ~0u, 0);
  if (o->log) fcntl(TM__LOG_FD, F_SETFD, FD_CLOEXEC);
  fcntl(TM__BELL_FD, F_SETFD, FD_CLOEXEC);
  tm__doorbell = TM__BELL_FD;
}

static void configure(tm_runtime *rt, const tm__birth *b, const orders *o) {
  rt->numbers = b->numbers;
  rt->settings = b->settings;
  rt->flags |= b->flags;
  atomic_store(&rt->threads, b->threads);
  atomic_store(&rt->processes, b->processes);
  atomic_store(&rt->start_method, b->start_method);
  atomic_store(&rt->pin, b->pin);
  tm__log_join(&rt->log, &b->numbers->log);
  if (o->log) tm__log_adopt_fd(&rt->log, TM__LOG_FD);
}

/* The pool as this process knows it; its end is the script's to see to. */
static tm__pool *make_pool(tm_runtime *rt, const tm__birth *b,
                           const tm__guest *guest) {
  tm__pool *pool = tm__calloc(&rt->mem, 1, sizeof *pool);
  if (!pool) return NULL;
  pool->rt = rt;
  pool->mem = tm__arena_mem(rt->arena);
  pool->hub = b->hub;
  pool->bell = &b->hub->bell;
  pool->pid = b->parent;
  pool->kind = &tm__worker_spawn;
  pool->guest = guest;
  pool->guest_user = b->guest_user;
  pool->initializer = b->initializer;
  pool->max_items = b->max_items;
  pool->max_memory = b->max_memory;
  pool->nworkers = b->hub->nseats;
  atomic_init(&pool->refs, 1);
  pthread_mutex_init(&pool->roster, NULL);
  pthread_mutex_init(&pool->lock, NULL);
  return pool;
}

static tm__worker *take_seat(tm__pool *pool, int index) {
  tm__worker *w = pool ? tm__worker_new(pool, index) : NULL;
  if (!w) return NULL;
  w->seat = &pool->hub->seats[index];
  w->pidfd = -1;
  tm__served = pool;
  tm__served_seat = w->seat;
  atomic_store(&w->seat->pid, tm__pid());
  return w;
}

int tm__spawned_main(const tm__guest *guest, int argc, char **argv) {
  static const tm__mem heap = {.fn = tm__heap_alloc};
  static char command[] = "/proc/self/exe"; /* for workers of ours */
  tm__arena *arena;
  tm_runtime *rt;
  orders o;
  if (!read_orders(argc, argv, &o)) return TM__EXIT_OTHER;
  take_descriptors(&o);
  if (tm__arena_attach(&arena, &heap, TM__ARENA_FD, o.base, o.size, NULL))
    return TM__EXIT_NO_ARENA;
  const tm__birth *b = tm__arena_at(arena, o.birth);
  tm__process_begin(b->parent, o.watched);
  tm__mask_set(&b->mask);
  if (tm__runtime_attach(&rt, arena, b->root, b->hub->seats[o.seat].ledger,
                         NULL) ||
      tm__runtime_command(rt, command, NULL))
    return TM__EXIT_NO_MEMORY;
  configure(rt, b, &o);
  tm__worker *w = take_seat(make_pool(rt, b, guest), o.seat);
  if (!w) return TM__EXIT_NO_MEMORY;
  tm__process_live(w);
}
