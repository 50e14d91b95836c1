#include "bind/ljob.h"

#include <math.h>
#include <string.h>

#include "bind/error.h"
#include "bind/guest.h"
#include "bind/lkernel.h"
#include "bind/lpool.h"
#include "bind/numbers.h"
#include "bind/pack.h"
#include "bind/unpack.h"
#include "bind/unwind.h"
#include "run/runs.h"

static const char job_type[] = "tidemill.job";

tm__jobbox *tm__job_check(lua_State *L, int index) {
  tm__jobbox *box = luaL_checkudata(L, index, job_type);
  if (box->pid != tm__pid())
    luaL_error(L, "the result is the script's, not this worker process's");
  return box;
}

tm__jobbox *tm__job_push(lua_State *L) {
  tm__jobbox *box = lua_newuserdatauv(L, sizeof *box, 4);
  *box = (tm__jobbox){.pid = tm__pid()};
  luaL_setmetatable(L, job_type);
  return box;
}

/* A job that nobody can ask any more goes on: its callbacks may be awaited,
   and apply_async without a result is a common way to start something. A
   stream ends: nobody will feed it. */
static int job_gc(lua_State *L) {
  tm__jobbox *box = luaL_checkudata(L, 1, job_type);
  tm__job *job = box->job;
  box->job = NULL;
  if (!job || box->pid != tm__pid()) return 0;
  if (job->spec.window && !tm__job_done(job))
    tm__pool_cancel(job, TM__FAIL_CANCELLED);
  tm__msg_unref(box->message, job->pool->mem, job->pool->rt->store);
  box->message = NULL;
  tm__job_unref(job);
  return 0;
}

/* ---- one record ---- */

/* Where the values of a record come from: bytes, or the job's tables. */
typedef struct source {
  lua_State *L;
  tm__job *job;
  uint64_t item;
  tm__record record;
  const unsigned char *bytes;
} source;

static void push_direct(const source *r, int table) {
  const tm__direct *d = r->job->user;
  lua_rawgeti(r->L, LUA_REGISTRYINDEX, d->ref);
  lua_rawgeti(r->L, -1, table);
  lua_rawgeti(r->L, -1, (lua_Integer)r->item + 1);
  lua_insert(r->L, -3);
  lua_pop(r->L, 2);
}

/* A result that keeps all values is {n=, ...}. */
static void gather(lua_State *L, int n) {
  lua_createtable(L, n, 1);
  lua_insert(L, -(n + 1));
  for (int i = n; i >= 1; i--) lua_rawseti(L, -(i + 1), i);
  lua_pushinteger(L, n);
  lua_setfield(L, -2, "n");
}

static void push_ok(const source *r) {
  lua_State *L = r->L;
  if (r->job->spec.out) { /* the array has it */
    lua_pushnil(L);
    return;
  }
  if (r->job->user) {
    push_direct(r, 4);
    return;
  }
  const unsigned char *at = r->bytes, *end = at + r->record.len;
  if (!r->job->spec.all && tm__number_push(L, at, end)) return;
  int n = tm__unpack(L, &at, end, TM__UNPACK_PLAIN, 0);
  if (r->job->spec.all)
    gather(L, n);
  else if (n == 0)
    lua_pushnil(L);
  else
    lua_pop(L, n - 1);
}

/* Pushes value, message and traceback of a failure that a guest wrote. */
static void push_guest_failure(const source *r) {
  lua_State *L = r->L;
  if (r->job->user) {
    push_direct(r, 5);
    lua_rawgeti(L, -1, 1);
    tm__error_text(L, -1);
    lua_rawgeti(L, -3, 2);
    lua_remove(L, -4);
    return;
  }
  int top = lua_gettop(L);
  const unsigned char *at = r->bytes;
  tm__unpack(L, &at, at + r->record.len, TM__UNPACK_PLAIN, 0);
  lua_settop(L, top + 3);
}

static void set_task(const source *r, int job) {
  lua_State *L = r->L;
  char name[100];
  if (r->job->spec.name[0]) {
    lua_pushstring(L, r->job->spec.name);
  } else {
    lua_getiuservalue(L, job, 2);
    tm__function_name(L, -1, name, sizeof name);
    lua_pop(L, 1);
    lua_pushstring(L, name);
  }
  lua_setfield(L, -2, "task");
}

/* Pushes the error object of a failed record; `job` is the box's index. */
static void push_failure(const source *r, int job) {
  lua_State *L = r->L;
  lua_checkstack(L, 12);
  if (r->record.tag == TM__REC_CORE) {
    lua_pushlstring(L, (const char *)r->bytes, r->record.len);
    tm__error_push(L, r->record.kind, lua_tostring(L, -1));
    lua_remove(L, -2);
  } else {
    push_guest_failure(r);
    tm__error_push(L, r->record.kind, lua_tostring(L, -2));
    lua_insert(L, -4);
    lua_setfield(L, -4, "traceback");
    lua_setfield(L, -3, "message");
    lua_setfield(L, -2, "value");
  }
  set_task(r, job);
  if (r->job->spec.all) return; /* apply has no items */
  lua_pushinteger(L, (lua_Integer)r->item + 1);
  lua_setfield(L, -2, "item");
}

/* Pushes result or error; answers whether it is a result. */
static bool push_record(source *r, int job, const unsigned char **at,
                        const unsigned char *end) {
  if (!tm__record_read(at, end, &r->record))
    luaL_error(r->L, "malformed result of item %I", (lua_Integer)r->item + 1);
  r->bytes = *at;
  *at += r->record.len;
  if (r->record.tag == TM__REC_OK) {
    push_ok(r);
    return true;
  }
  push_failure(r, job);
  return false;
}

/* ---- all results ---- */

/* Stack: job, results, errors. One message. */
static void read_message(lua_State *L, tm__job *job, const tm__msg *m) {
  const unsigned char *at = tm__msg_bytes(m), *end = at + m->len;
  source r = {.L = L, .job = job};
  for (uint64_t i = 0; i < m->count; i++) {
    r.item = m->first + i;
    if (push_record(&r, 1, &at, end)) {
      lua_rawseti(L, 2, (lua_Integer)r.item + 1);
    } else {
      lua_pushinteger(L, (lua_Integer)r.item + 1);
      lua_rawseti(L, 3, (lua_Integer)lua_rawlen(L, 3) + 1);
      lua_rawseti(L, 3, (lua_Integer)lua_rawlen(L, 3) + 1);
    }
  }
}

/* results(job) -> {n=, ...}, {item, error, ...}: once, of a job that is
   done. The errors come lowest item first. */
static int job_results(lua_State *L) {
  tm__jobbox *box = tm__job_check(L, 1);
  tm__job *job = box->job;
  uint64_t n = job->items.n, i = 0;
  lua_settop(L, 1);
  if (job->batch) return tm__kernel_results(L, job);
  bool out = job->spec.out;
  lua_createtable(L, n < INT32_MAX / 2 && !out ? (int)n : 0, 1);
  lua_newtable(L);
  if (out && !atomic_load(&job->failed)) i = n;
  while (i < n) {
    tm__msg *m = tm__job_results(job, i);
    if (m) read_message(L, job, m);
    i += m ? m->count : 1;
  }
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, 2, "n");
  if (tm__job_done(job)) tm__job_empty(job);
  return 2;
}

/* values(job) -> true and all that the one call returned; or nothing, when it
   is not done, was given up or failed: then ask for the results. */
static int job_values(lua_State *L) {
  tm__job *job = tm__job_check(L, 1)->job;
  if (!tm__job_done(job) || atomic_load(&job->failed) ||
      atomic_load(&job->cancelled) || job->user)
    return 0;
  const tm__msg *m = tm__job_results(job, 0);
  tm__record r;
  if (!m) return 0;
  const unsigned char *at = tm__msg_bytes(m), *end = at + m->len;
  if (!tm__record_read(&at, end, &r) || r.tag != TM__REC_OK) return 0;
  lua_pushboolean(L, 1);
  int n = tm__unpack(L, &at, at + r.len, TM__UNPACK_PLAIN, 0);
  tm__job_empty(job);
  return n + 1;
}

/* ---- waiting ---- */

static bool is_done(tm__job *job, void *argument) {
  (void)argument;
  return tm__job_done(job);
}

static uint64_t get_timeout(lua_State *L, int index) {
  lua_Number seconds = luaL_optnumber(L, index, HUGE_VAL);
  if (seconds != seconds || seconds > 1e9) return TM__FOREVER;
  return seconds > 0 ? (uint64_t)(seconds * 1e9) : 0;
}

static tm__worker *self_of(lua_State *L) {
  return tm__state_get(L)->worker ? tm__worker_self() : NULL;
}

void tm__job_run_inline(lua_State *L, tm__job *job, uint64_t time) {
  tm__worker *w = job->pool->workers[0];
  if (!tm__job_claimable(job)) return;
  void *state = w->state;
  uint64_t until = w->until;
  w->state = L;
  w->until = time == TM__FOREVER ? 0 : tm__now() + time;
  tm__pool_help(w, job);
  w->state = state;
  w->until = until;
}

/* A wait that was cut short: by the user, or because our own item is to
   unwind. */
static void cut_short(lua_State *L, tm__job *job) {
  int kind;
  tm__worker *self = tm__worker_self();
  bool unwind = self && tm__worker_unwind(self, &kind) >= 0;
  if (!unwind && !tm__interrupted(L)) return;
  if (!unwind) tm__interrupt_seen(L);
  tm__pool_cancel(job, unwind ? TM__FAIL_CANCELLED : TM__FAIL_INTERRUPTED);
  tm__unwind_check(L);
}

static int wait_until(lua_State *L, tm__job *job, tm__ready_fn ready,
                      void *argument, uint64_t timeout) {
  int status = TM_ETIMEOUT;
  bool ours = job->pool->kind->runs_in_caller && tm__job_claimable(job);
  if (ours) tm__job_run_inline(L, job, timeout);
  if (ours && ready(job, argument)) return TM_OK;
  /* nobody else would go on with a job of ours: no use in sleeping */
  if (!ours) status = tm__pool_wait(job, self_of(L), ready, argument, timeout);
  if (status != TM_OK) cut_short(L, job);
  return status;
}

bool tm__job_wait(lua_State *L, tm__job *job, uint64_t timeout) {
  wait_until(L, job, is_done, NULL, timeout);
  return tm__job_done(job);
}

/* wait(job, seconds) -> whether it is done */
static int job_wait(lua_State *L) {
  tm__jobbox *box = tm__job_check(L, 1);
  lua_pushboolean(L, tm__job_wait(L, box->job, get_timeout(L, 2)));
  return 1;
}

/* ---- streams ---- */

static bool was_taken(const tm__jobbox *box, uint64_t i) {
  return box->taken[i % box->job->spec.window] != 0;
}

static void mark_taken(tm__jobbox *box, uint64_t i) {
  uint64_t window = box->job->spec.window, limit;
  box->taken[i % window] = 1;
  limit = atomic_load(&box->job->limit);
  while (box->oldest < limit && was_taken(box, box->oldest))
    box->taken[box->oldest++ % window] = 0;
  box->job->taken = box->oldest;
}

static tm__msg *message_at(const tm__jobbox *box, uint64_t i) {
  return tm__job_results(box->job, i);
}

/* The lowest item whose message is there: the oldest not taken, or any. */
static bool find_message(const tm__jobbox *box, bool any, uint64_t *item) {
  uint64_t limit = atomic_load(&box->job->limit);
  for (uint64_t i = box->oldest; i < limit; i++) {
    if (!was_taken(box, i) && message_at(box, i)) {
      *item = i;
      return true;
    }
    if (!any) return false;
  }
  return false;
}

typedef struct seeker {
  const tm__jobbox *box;
  bool any;
} seeker;

static bool has_message(tm__job *job, void *argument) {
  const seeker *s = argument;
  uint64_t item;
  return find_message(s->box, s->any, &item) || tm__job_done(job);
}

static void forget_direct(lua_State *L, tm__job *job, uint64_t item) {
  const tm__direct *d = job->user;
  if (!d) return;
  lua_rawgeti(L, LUA_REGISTRYINDEX, d->ref);
  for (int table = 3; table <= 5; table++) {
    lua_rawgeti(L, -1, table);
    lua_pushnil(L);
    lua_rawseti(L, -2, (lua_Integer)item + 1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Pushes item, ok, result or error of the next record of the message. */
static int take_record(lua_State *L, tm__jobbox *box) {
  tm__msg *m = box->message;
  source r = {.L = L, .job = box->job, .item = box->item};
  lua_pushinteger(L, (lua_Integer)box->item + 1);
  bool ok = push_record(&r, 1, &box->at, tm__msg_bytes(m) + m->len);
  lua_pushboolean(L, ok);
  lua_insert(L, -2);
  forget_direct(L, box->job, box->item);
  uint64_t item = box->item++;
  if (box->item == m->first + m->count) {
    box->message = NULL;
    tm__msg_unref(m, box->job->pool->mem, box->job->pool->rt->store);
  }
  mark_taken(box, item);
  return 3;
}

/* take(job, any, seconds) -> item, ok, result or error; or nothing, when
   there was none in time or never will be (then the job is done). */
static int job_take(lua_State *L) {
  tm__jobbox *box = tm__job_check(L, 1);
  seeker s = {.box = box, .any = lua_toboolean(L, 2)};
  uint64_t timeout = get_timeout(L, 3), item;
  lua_settop(L, 1);
  if (!box->taken) {
    box->taken = lua_newuserdatauv(L, box->job->spec.window, 0);
    memset(box->taken, 0, box->job->spec.window);
    lua_setiuservalue(L, 1, 3);
  }
  if (box->message) return take_record(L, box);
  if (!has_message(box->job, &s))
    wait_until(L, box->job, has_message, &s, timeout);
  if (!find_message(box, s.any, &item)) return 0;
  /* the place is free from now on: another item may come to use it while
     this message is still being read */
  box->message = tm__job_take(box->job, item);
  box->at = tm__msg_bytes(box->message);
  box->item = item;
  return take_record(L, box);
}

/* room(job) -> how many items may be fed now */
static int job_room(lua_State *L) {
  tm__jobbox *box = tm__job_check(L, 1);
  lua_pushinteger(L, (lua_Integer)tm__job_room(box->job, box->oldest));
  return 1;
}

/* finish(job): no more items will be fed */
static int job_finish(lua_State *L) {
  tm__job_close(tm__job_check(L, 1)->job);
  return 0;
}

/* ---- asking ---- */

/* done(job) -> whether it is done */
static int job_done(lua_State *L) {
  tm__job *job = tm__job_check(L, 1)->job;
  bool done = tm__job_done(job);
  if (!done) tm__pool_refill(job->pool);
  lua_pushboolean(L, done);
  return 1;
}

/* cancel(job): false when it was done already */
static int job_cancel(lua_State *L) {
  tm__job *job = tm__job_check(L, 1)->job;
  bool late = tm__job_done(job);
  if (!late) tm__pool_cancel(job, TM__FAIL_CANCELLED);
  lua_pushboolean(L, !late);
  return 1;
}

/* cancelled(job) -> why ("cancelled", "interrupted"), or nil */
static int job_cancelled(lua_State *L) {
  uint32_t kind = atomic_load(&tm__job_check(L, 1)->job->cancelled);
  if (kind)
    lua_pushstring(L, tm__kind_name((int)kind));
  else
    lua_pushnil(L);
  return 1;
}

/* progress(job) -> settled, of how many, failed */
static int job_progress(lua_State *L) {
  tm__job *job = tm__job_check(L, 1)->job;
  lua_pushinteger(L, (lua_Integer)atomic_load(&job->settled));
  lua_pushinteger(L, (lua_Integer)atomic_load(&job->limit));
  lua_pushinteger(L, (lua_Integer)atomic_load(&job->failed));
  return 3;
}

/* id(job) -> a light userdata by which poll names it */
static int job_id(lua_State *L) {
  lua_pushlightuserdata(L, tm__job_check(L, 1)->job);
  return 1;
}

/* finished() -> id...: jobs submitted with notify that are done since the
   last call, earliest first; at most 100 */
static int finished(lua_State *L) {
  tm__state *s = tm__state_get(L);
  tm__monitor_refill(&s->rt->monitor);
  tm__job *job = s->inbox ? tm__inbox_take(s->inbox) : NULL;
  int n = 0;
  if (!job) return 0;
  lua_newtable(L);
  while (job) {
    tm__job *next = job->next_done;
    lua_pushlightuserdata(L, job);
    lua_rawseti(L, -2, ++n);
    tm__job_unref(job);
    job = next;
  }
  return 1;
}

/* fileno() -> a descriptor that is readable while finished() has something;
   jobs submitted from now on are all told there */
static int fileno_of_inbox(lua_State *L) {
  int fd;
  tm_error e;
  if (tm__inbox_event(tm__state_inbox(L), &fd, &e)) tm__raise(L, &e);
  lua_pushinteger(L, fd);
  return 1;
}

/* new_error(kind, message) -> an error object */
static int new_error(lua_State *L) {
  static const char *const kinds[] = {"task",      "worker_died", "timeout",
                                      "cancelled", "interrupted", "send",
                                      NULL};
  int kind = luaL_checkoption(L, 1, NULL, kinds);
  tm__error_push(L, kind + 1, luaL_checkstring(L, 2));
  return 1;
}

/* function_name(f) -> the name that messages give it */
static int function_name(lua_State *L) {
  char name[100];
  tm__function_name(L, 1, name, sizeof name);
  lua_pushstring(L, name);
  return 1;
}

void tm__job_register(lua_State *L) {
  static const luaL_Reg functions[] = {{"wait", job_wait},
                                       {"results", job_results},
                                       {"values", job_values},
                                       {"take", job_take},
                                       {"room", job_room},
                                       {"finish", job_finish},
                                       {"done", job_done},
                                       {"cancel", job_cancel},
                                       {"cancelled", job_cancelled},
                                       {"progress", job_progress},
                                       {"id", job_id},
                                       {"finished", finished},
                                       {"fileno", fileno_of_inbox},
                                       {"new_error", new_error},
                                       {"function_name", function_name},
                                       {NULL, NULL}};
  luaL_newmetatable(L, job_type);
  lua_pushcfunction(L, job_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
