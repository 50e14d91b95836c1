/*
 * guest_direct.c: the caller's own state as a worker (FakePool)
 *
 * Nothing is encoded: records are heads alone, values lie in the job's
 * tables (tm__direct).
 */
#include "bind/error.h"
#include "bind/guest.h"
#include "bind/items.h"
#include "bind/larray.h"
#include "bind/ltask.h"
#include "bind/unwind.h"

enum { FUNCTION = 1, KWDS, ITEMS, RESULTS, ERRORS };

static int direct_open(tm__worker *w, void **state, tm_error *e) {
  (void)w;
  (void)e;
  *state = NULL;
  return TM_OK;
}

static void direct_close(tm__worker *w, void *state) {
  (void)w;
  (void)state;
}

static void *direct_enter(tm__worker *w, tm__job *job) {
  (void)w;
  return job;
}

static void direct_leave(tm__worker *w, void *context) {
  (void)w;
  (void)context;
}

static void direct_interrupt(tm__worker *w) {
  (void)w;
  tm__unwind_arm();
}

static size_t direct_memory(tm__worker *w) {
  (void)w;
  return 0;
}

static void direct_forget(tm__job *job) {
  tm__direct *d = job->user;
  if (!d) return;
  luaL_unref(d->L, LUA_REGISTRYINDEX, d->ref);
  tm__free(job->pool->mem, d);
}

/* Pushes one of the job's tables. */
static void push_table(lua_State *L, const tm__job *job, int which) {
  const tm__direct *d = job->user;
  lua_rawgeti(L, LUA_REGISTRYINDEX, d->ref);
  lua_rawgeti(L, -1, which);
  lua_replace(L, -2);
}

static int arguments(lua_State *L, tm__piece *p, uint64_t i) {
  const tm__items *items = &p->job->items;
  if (items->kind == TM__ITEMS_ARRAY)
    return tm__array_push_item(L, lua_touserdata(L, TM__ITEMS_A), i);
  if (items->kind == TM__ITEMS_INTS) {
    lua_pushinteger(L, items->start.i + (lua_Integer)i * items->step.i);
  } else if (items->kind == TM__ITEMS_FLOATS) {
    lua_pushnumber(L, items->start.f + (lua_Number)i * items->step.f);
  } else {
    lua_geti(L, TM__ITEMS_A, (lua_Integer)i + 1);
  }
  return p->job->spec.spread ? tm__items_spread(L) : 1;
}

static void result(lua_State *L, tm__piece *p, tm__packer *packer, uint64_t i,
                   int first, int n) {
  (void)packer;
  if (p->job->spec.out) {
    tm__array_result(L, lua_touserdata(L, TM__ITEMS_B), first, n, i);
    tm__items_end(&p->out, tm__items_begin(L, &p->out), TM__REC_OK, 0);
    return;
  }
  if (p->job->spec.all) {
    lua_createtable(L, n, 1);
    for (int k = 0; k < n; k++) {
      lua_pushvalue(L, first + k);
      lua_rawseti(L, -2, k + 1);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
  } else {
    lua_pushvalue(L, first);
  }
  lua_rawseti(L, TM__ITEMS_B, (lua_Integer)i + 1);
  tm__items_end(&p->out, tm__items_begin(L, &p->out), TM__REC_OK, 0);
}

static void failure(lua_State *L, tm__piece *p, tm__packer *packer, uint64_t i,
                    int kind) {
  (void)packer;
  push_table(L, p->job, ERRORS);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, (lua_Integer)i + 1);
  tm__items_end(&p->out, tm__items_begin(L, &p->out), TM__REC_FAIL, kind);
}

static const tm__items_ops direct_ops = {
    .arguments = arguments, .result = result, .failure = failure};

static int run_piece(lua_State *L) {
  tm__piece *p = lua_touserdata(L, 1);
  push_table(L, p->job, KWDS);
  push_table(L, p->job, FUNCTION);
  tm__task_function(L, lua_gettop(L));
  push_table(L, p->job, ITEMS);
  push_table(L, p->job, RESULTS);
  tm__items_run(L, p, NULL, &direct_ops);
  return 0;
}

static void direct_run(tm__piece *p) {
  lua_State *L = p->worker->state;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 8)) return;
  lua_pushcfunction(L, run_piece);
  lua_pushlightuserdata(L, p);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK && atomic_load(&p->next) == p->first) {
    /* the task's setup failed: so does the item */
    tm__error_text(L, -1);
    if (tm__record_text(&p->out, TM__FAIL_TASK, lua_tostring(L, -1)))
      atomic_fetch_add(&p->next, 1);
  }
  lua_settop(L, top);
}

const tm__guest tm__guest_direct = {.open = direct_open,
                                    .close = direct_close,
                                    .enter = direct_enter,
                                    .leave = direct_leave,
                                    .run = direct_run,
                                    .interrupt = direct_interrupt,
                                    .memory = direct_memory,
                                    .forget = direct_forget};
