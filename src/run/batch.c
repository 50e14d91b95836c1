#include "run/batch.h"

#include <stdio.h>
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

/* ---- making ---- */

static size_t text_size(const char *text) { return strlen(text) + 1; }

static char *put_text(char **at, const char *text) {
  char *copy = *at;
  memcpy(copy, text, text_size(text));
  *at += text_size(text);
  return copy;
}

/* What lies behind a batch, in this order. */
static size_t size_of(const tm__batch_spec *s, const tm__kernel_name *name) {
  size_t n = (size_t)s->kernel->signature.count;
  size_t size = sizeof(tm__batch) +
                n * (sizeof(tm_arg) + sizeof(tm__place) + sizeof(tm__map *));
  for (size_t i = 0; i < n; i++)
    size += (size_t)s->args[i].rank * sizeof(int64_t);
  return size + text_size(name->path) + text_size(name->name) +
         text_size(name->signature);
}

/* Copies arguments and extents; answers what is behind those. */
static char *put_args(tm__batch *b, const tm_arg *args) {
  int64_t *shape = (int64_t *)(b->held + b->nargs);
  for (int i = 0; i < b->nargs; i++) {
    size_t rank = (size_t)args[i].rank;
    b->args[i] = args[i];
    b->args[i].shape = rank ? shape : NULL;
    if (rank) memcpy(shape, args[i].shape, rank * sizeof *shape);
    shape += rank;
  }
  return (char *)shape;
}

static tm__batch *allocate(const tm__mem *mem, const tm__batch_spec *s) {
  tm__kernel_name name = tm__kernel_name_of(s->kernel);
  tm__batch *b = tm__calloc(mem, 1, size_of(s, &name));
  if (!b) return NULL;
  b->mem = mem;
  b->kernel = s->kernel;
  b->nargs = s->kernel->signature.count;
  b->args = (tm_arg *)(b + 1);
  b->places = (tm__place *)(b->args + b->nargs);
  b->held = (tm__map **)(b->places + b->nargs);
  char *texts = put_args(b, s->args);
  b->name.path = put_text(&texts, name.path);
  b->name.name = put_text(&texts, name.name);
  b->name.signature = put_text(&texts, name.signature);
  b->name.defined = name.defined;
  return b;
}

int tm__batch_new(tm__batch **out, tm__pool *pool, const tm__batch_spec *s,
                  tm_error *e) {
  tm__batch *b = allocate(pool->mem, s);
  *out = NULL;
  if (!b)
    return tm__fail(e, TM_ENOMEM, "not enough memory for a run of a kernel");
  int status =
      tm__plan_init(&b->plan, s->kernel, b->mem, b->args, s->first, s->last,
                    unit_size(s->last - s->first, s->chunk), e);
  if (status) {
    tm__free(b->mem, b);
    return status;
  }
  b->maps = &pool->rt->maps;
  if (s->timeout) b->deadline = tm__now() + s->timeout;
  *out = b;
  return TM_OK;
}

void tm__batch_free(tm__batch *b) {
  if (!b) return;
  for (int i = 0; i < b->nheld; i++) tm__maps_close(b->maps, b->held[i]);
  tm__plan_term(&b->plan, b->mem);
  tm__free(b->mem, b);
}

void tm__batch_map(tm__batch *b, int i, tm__map *map, tm__key key,
                   uint64_t offset) {
  tm__maps_ref(b->maps, map);
  b->held[b->nheld++] = map;
  b->places[i] = (tm__place){.key = key, .offset = offset};
}

/* ---- a worker's part ---- */

typedef struct part {
  tm__call call; /* of this worker alone; a failure is the unit's that runs */
  tm__work work;
  tm__job *job;
  uint64_t unit;  /* that runs */
  tm_error fault; /* why it can run none; code 0: it can */
  tm__map **maps; /* nmaps references, of a worker process */
  int nmaps;
  tm_arg args[];
} part;

/* Whether the unit that runs is of no use: one below it failed. */
static bool not_wanted(void *argument) {
  const part *me = argument;
  return tm__job_skips(me->job, me->unit);
}

/* Maps the file of an argument in this process. */
static int map_argument(part *me, tm_runtime *rt, int i,
                        const tm__place *place) {
  tm__pin pin;
  tm__map *map;
  int status = tm__store_pin(rt->store, place->key, &pin, &me->fault);
  if (status) return status;
  const tm__mapped *m = (const void *)pin.bytes;
  status = tm__maps_open(&rt->maps, m->path, &m->id, &map, &me->fault);
  tm__store_unpin(rt->store, &pin);
  if (status) return status;
  me->maps[me->nmaps++] = map;
  me->args[i].p = (void *)(uintptr_t)(map->base + place->offset);
  return TM_OK;
}

/* What a batch of another process needs here. */
static int find_here(part *me, tm_runtime *rt, const tm__batch *b,
                     tm__kernel **k) {
  int status = tm__kernels_resolve(&rt->kernels, &b->name, k, &me->fault);
  for (int i = 0; i < b->nargs && !status; i++)
    if (b->places[i].key) status = map_argument(me, rt, i, &b->places[i]);
  return status;
}

static void begin_work(part *me, const tm__worker *w, const tm__batch *b,
                       tm__kernel *k) {
  tm__call *c = &me->call;
  tm__call_begin(c, k, &w->pool->rt->mem, me->args, &b->plan);
  c->watch = &me->job->cancelled;
  c->deadline = b->deadline;
  if (!tm__work_begin(&me->work, c, w->index, w->pool->nworkers))
    tm__fail(&me->fault, TM_ENOMEM, "%s", c->failure);
  me->work.poll = not_wanted;
  me->work.poll_argument = me;
}

void *tm__batch_enter(tm__worker *w, tm__job *job) {
  const tm__batch *b = job->batch;
  tm_runtime *rt = w->pool->rt;
  size_t n = (size_t)b->nargs;
  part *me = tm__calloc(&rt->mem, 1,
                        sizeof *me + n * (sizeof *b->args + sizeof *me->maps));
  tm__kernel *k = b->kernel;
  if (!me) return NULL;
  me->job = job;
  me->maps = (tm__map **)(me->args + n);
  if (n) memcpy(me->args, b->args, n * sizeof *b->args);
  if (w->pool == tm__served && find_here(me, rt, b, &k)) return me;
  begin_work(me, w, b, k);
  return me;
}

void tm__batch_leave(tm__worker *w, void *context) {
  part *me = context;
  tm_runtime *rt = w->pool->rt;
  if (me->call.kernel) {
    tm__work_end(&me->work);
    tm__call_end(&me->call);
  }
  for (int i = 0; i < me->nmaps; i++) tm__maps_close(&rt->maps, me->maps[i]);
  tm__free(&rt->mem, me);
}

/* ---- running ---- */

/* The record of a unit that failed: the item, then the text. */
static bool write_failure(tm__buf *b, int64_t item, const char *text) {
  size_t n = strlen(text), len = sizeof item + n;
  unsigned char *at = tm__buf_take(b, TM__RECORD_HEAD + len);
  if (!at) return false;
  tm__record_write(at, (tm__record){.tag = TM__REC_FAIL,
                                    .kind = TM__FAIL_TASK,
                                    .len = (uint32_t)len});
  memcpy(at + TM__RECORD_HEAD, &item, sizeof item);
  memcpy(at + TM__RECORD_HEAD + sizeof item, text, n);
  return true;
}

static bool write_ok(tm__buf *b) {
  unsigned char *at = tm__buf_take(b, TM__RECORD_HEAD);
  if (at) tm__record_write(at, (tm__record){.tag = TM__REC_OK});
  return at != NULL;
}

static int64_t first_item(const tm__plan *p, uint64_t unit) {
  return p->first + (int64_t)unit * p->unit;
}

/* Runs the next unit; false when nothing more is to be run. */
static bool run_unit(tm__piece *p, part *me) {
  tm__call *c = &me->call;
  int64_t unit = (int64_t)p->next;
  tm__call_renew(c);
  tm__work_run(&me->work, unit, unit + 1);
  bool failed = tm__call_failed(c);
  bool written =
      failed ? write_failure(&p->out, atomic_load(&c->fail_at), c->failure)
             : write_ok(&p->out);
  if (written) tm__piece_advance(p);
  return written && !failed && !tm__piece_over(p);
}

static void fail_unit(tm__piece *p, const part *me) {
  int64_t item = first_item(&p->job->batch->plan, p->next);
  bool written = me->fault.code == TM_ENOMEM
                     ? tm__record_text(&p->out, TM__FAIL_TASK, me->fault.text)
                     : write_failure(&p->out, item, me->fault.text);
  if (written) tm__piece_advance(p);
}

void tm__batch_run(tm__piece *p) {
  part *me = p->context;
  if (me->fault.code) {
    fail_unit(p, me);
    return;
  }
  tm__call_renew(&me->call);
  do {
    me->unit = p->next;
    if (tm__work_over(&me->work)) break;
  } while (run_unit(p, me) && p->next < p->last);
  int why = tm__call_stopped(&me->call);
  if (why) tm__job_stop(p->job, why);
}

/* ---- the end ---- */

static void copy_text(tm__outcome *out, const unsigned char *text, size_t n) {
  if (n > sizeof out->text - 1) n = sizeof out->text - 1;
  memcpy(out->text, text, n);
  out->text[n] = '\0';
}

/* A unit of several items that died does not say which it was. */
static void copy_core(tm__outcome *out, const tm__plan *p,
                      const unsigned char *text, size_t n) {
  int64_t last = p->last - out->item > p->unit ? out->item + p->unit : p->last;
  copy_text(out, text, n);
  n = strlen(out->text);
  if (out->kind != TM__FAIL_TASK && last - out->item > 1)
    snprintf(out->text + n, sizeof out->text - n,
             " (in one of the items %lld to %lld)", (long long)out->item,
             (long long)last - 1);
}

static void read_failure(tm__outcome *out, const tm__plan *p, uint64_t unit,
                         const tm__record *r, const unsigned char *bytes) {
  out->failed = true;
  out->kind = r->kind;
  out->item = first_item(p, unit);
  out->core = r->tag == TM__REC_CORE;
  if (out->core || r->len < sizeof out->item) {
    copy_core(out, p, bytes, r->len);
    return;
  }
  memcpy(&out->item, bytes, sizeof out->item);
  copy_text(out, bytes + sizeof out->item, r->len - sizeof out->item);
}

/* The first failure among the records of a message. */
static bool find_failure(const tm__msg *m, const tm__plan *p,
                         tm__outcome *out) {
  const unsigned char *at = tm__msg_bytes(m), *end = at + m->len;
  tm__record r;
  for (uint64_t i = 0; i < m->count && tm__record_read(&at, end, &r); i++) {
    if (r.tag != TM__REC_OK) {
      read_failure(out, p, m->first + i, &r, at);
      return true;
    }
    at += r.len;
  }
  return false;
}

void tm__batch_outcome(tm__job *job, tm__outcome *out) {
  const tm__plan *p = &job->batch->plan;
  uint64_t i = 0, units = job->items.n;
  out->kind = 0;
  out->failed = false;
  out->core = false;
  out->item = p->first;
  out->text[0] = '\0';
  while (i < units && atomic_load(&job->failed)) {
    const tm__msg *m = tm__job_results(job, i);
    if (m && find_failure(m, p, out)) break;
    i += m ? m->count : 1;
  }
  int why = (int)atomic_load(&job->cancelled);
  if (out->failed && out->kind != why) return;
  out->failed = false; /* a unit that was given up did not fail itself */
  out->kind = why;
  if (why || !atomic_load(&job->failed)) return;
  out->failed = out->core = true; /* its message found no memory */
  out->kind = TM__FAIL_TASK;
  snprintf(out->text, sizeof out->text, "not enough memory for the result");
}

void tm__batch_finish(const tm__batch *b, const void **result) {
  tm__call c;
  tm__call_begin(&c, b->kernel, b->mem, b->args, &b->plan);
  tm__call_finish(&c, result);
  tm__call_end(&c);
}
