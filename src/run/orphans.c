/*
 * orphans.c: the pools that a worker process had made, when it is gone
 *
 * Its own workers end with it, and nobody else settles their accounts. What
 * its hubs show is all that is known: the pools themselves were in its heap.
 * So what it held of a job that is in no ring is lost.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "run/process.h"
#include "run/runs.h"
#include "run/runtime.h"

/* They end at once; a number may be another process's by now. */
enum { PATIENCE_MS = 1000 };

static bool has_ended(int32_t pid) {
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return kill(pid, 0) < 0 && errno == ESRCH;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  int n = poll(&p, 1, PATIENCE_MS);
  close(fd);
  return n == 1;
}

/* Keys of a message that was not passed are in the ledger of its process. */
static void drop_message(tm_runtime *rt, tm__msg *m) {
  if (m && !m->passed) m->nkeys = 0;
  tm__msg_unref(m, tm__arena_mem(rt->arena), rt->store);
}

static void drop_job(tm_runtime *rt, tm__job *job) {
  const tm__mem *mem = tm__arena_mem(rt->arena);
  uint64_t n = job->nwords ? job->nwords : 1;
  for (uint64_t i = 0; i < n; i++) {
    tm__run r = tm__runs_read(atomic_load(&job->words[i]));
    if (r.state == TM__RUN_SETTLED) drop_message(rt, r.msg);
    if (job->fed) drop_message(rt, job->fed[i]);
  }
  drop_message(rt, job->items.packed);
  drop_message(rt, job->code);
  tm__free(mem, job->items.offsets);
  if (job->words != &job->one) tm__free(mem, (void *)job->words);
  tm__free(mem, job->spares);
  tm__free(mem, job->fed);
  tm__free(mem, job);
}

/* A job that was just moved may be there twice. */
static void drop_jobs(tm_runtime *rt, tm__hub *hub) {
  for (uint64_t i = 0; i < TM__RING; i++) {
    tm__job *job = atomic_load(&hub->ring[i]);
    if (job && (job->entry - 1) % TM__RING == i) drop_job(rt, job);
  }
}

/* False: one may live that has not said who it is. */
static bool settle_seat(tm_runtime *rt, tm__seat *s) {
  int32_t pid = atomic_load(&s->pid);
  if (atomic_load(&s->mood) == TM__VACANT) return true;
  if (!pid || !has_ended(pid)) return false;
  tm__arena_settle(rt->arena, pid);
  tm__store_settle(rt->store, s->ledger);
  tm__orphans_settle(rt, s);
  tm__seat_free_tables(s, tm__arena_mem(rt->arena));
  return true;
}

static void settle_hub(tm_runtime *rt, tm__hub *hub) {
  bool settled = true;
  for (int i = 0; i < hub->nseats; i++)
    if (!settle_seat(rt, &hub->seats[i])) settled = false;
  if (!settled) return;
  drop_jobs(rt, hub);
  tm__hub_free(hub, tm__arena_mem(rt->arena));
}

void tm__orphans_settle(tm_runtime *rt, tm__seat *seat) {
  tm__hub *hub = atomic_exchange(&seat->hubs, NULL);
  while (hub) {
    tm__hub *next = atomic_load(&hub->next);
    settle_hub(rt, hub);
    hub = next;
  }
}
