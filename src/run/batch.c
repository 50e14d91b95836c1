#include "run/batch.h"

#include <string.h>

#include "run/runtime.h"
#include "run/worker.h"

/* More units than this cost memory and balance nothing. */
enum { MOST_UNITS = 4096 };

static int64_t unit_size(int64_t n, int64_t chunk) {
  int64_t least = n / MOST_UNITS + (n % MOST_UNITS != 0);
  if (chunk < least) chunk = least;
  return chunk ? chunk : 1;
}

/* Arguments, extents and places for maps lie behind the batch. */
static tm__batch *allocate(const tm__mem *mem, const tm_arg *args, int n) {
  size_t extents = 0, count = (size_t)n;
  for (int i = 0; i < n; i++) extents += (size_t)args[i].rank;
  tm__batch *b =
      tm__calloc(mem, 1,
                 sizeof *b + count * sizeof *args + count * sizeof *b->held +
                     extents * sizeof(int64_t));
  if (!b) return NULL;
  b->args = (tm_arg *)(b + 1);
  b->held = (tm__map **)(b->args + n);
  int64_t *shape = (int64_t *)(b->held + n);
  for (int i = 0; i < n; i++) {
    size_t rank = (size_t)args[i].rank;
    b->args[i] = args[i];
    b->args[i].shape = rank ? shape : NULL;
    if (rank) memcpy(shape, args[i].shape, rank * sizeof *shape);
    shape += rank;
  }
  return b;
}

int tm__batch_new(tm__batch **out, tm_runtime *rt, tm__kernel *k,
                  const tm_arg *args, int64_t first, int64_t last,
                  int64_t chunk, uint64_t timeout, tm_error *e) {
  tm__batch *b = allocate(&rt->mem, args, k->signature.count);
  *out = NULL;
  if (!b)
    return tm__fail(e, TM_ENOMEM, "not enough memory for a run of a kernel");
  b->maps = &rt->maps;
  int status = tm__call_init(&b->call, k, &rt->mem, b->args, first, last, e);
  if (status) {
    tm__free(&rt->mem, b);
    return status;
  }
  tm__call_set_unit(&b->call, unit_size(last - first, chunk));
  if (timeout) b->call.deadline = tm__now() + timeout;
  *out = b;
  return TM_OK;
}

void tm__batch_free(tm__batch *b) {
  if (!b) return;
  const tm__mem *mem = b->call.mem;
  for (int i = 0; i < b->nheld; i++) tm__maps_close(b->maps, b->held[i]);
  tm__call_term(&b->call);
  tm__free(mem, b);
}

void tm__batch_hold(tm__batch *b, tm__map *map) {
  if (!map) return;
  tm__maps_ref(b->maps, map);
  b->held[b->nheld++] = map;
}

/* Writes the record of a unit that was run. */
static bool write_record(tm__piece *p, tm__call *c, int64_t unit) {
  int64_t end = c->first + (unit + 1) * c->unit;
  if (!tm__call_failed(c) || atomic_load(&c->fail_at) >= end) {
    unsigned char *at = tm__buf_take(&p->out, TM__RECORD_HEAD);
    if (at) tm__record_write(at, (tm__record){.tag = TM__REC_OK});
    return at != NULL;
  }
  pthread_mutex_lock(&c->lock);
  bool written = tm__record_text(&p->out, TM__FAIL_TASK, c->failure);
  pthread_mutex_unlock(&c->lock);
  return written;
}

static void run_units(tm__piece *p, tm__work *w) {
  tm__call *c = w->call;
  while (p->next < p->last && !tm__job_skips(p->job, p->next)) {
    int64_t unit = (int64_t)p->next;
    tm__work_run(w, unit, unit + 1);
    if (!write_record(p, c, unit)) return;
    tm__piece_advance(p);
    if (tm__work_over(w) || tm__piece_over(p)) return;
  }
}

void tm__batch_run(tm__piece *p) {
  tm__work w;
  tm__call *c = &p->job->batch->call;
  const tm__worker *self = p->worker;
  if (tm__work_begin(&w, c, self->index, self->pool->nworkers)) {
    if (!tm__work_over(&w)) run_units(p, &w);
  } else if (write_record(p, c, (int64_t)p->next)) {
    tm__piece_advance(p);
  }
  tm__work_end(&w);
  if (tm__call_stopped(c)) tm__job_stop(p->job, tm__call_stopped(c));
}
