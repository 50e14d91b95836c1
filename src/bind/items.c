#include "bind/items.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "bind/error.h"
#include "bind/unwind.h"

/* More would not fit a Lua stack in any case. */
enum { MOST_ARGUMENTS = 250000 };

/* The arguments of run_items, on the C stack of tm__items_run. */
typedef struct run {
  tm__piece *piece;
  const tm__items_ops *ops;
  tm__packer *packer;
  tm__state *state;
  uint64_t context; /* of the state, when it began */
  size_t begin;     /* of the record of the item that runs */
  bool sending;     /* the result is being written */
  bool over;        /* the piece is not ours any more */
} run;

size_t tm__items_begin(lua_State *L, tm__buf *out) {
  size_t at = out->len;
  if (!tm__buf_take(out, TM__RECORD_HEAD))
    luaL_error(L, "not enough memory for a result");
  return at;
}

void tm__items_end(tm__buf *out, size_t at, int tag, int kind) {
  tm__record_write(
      out->data + at,
      (tm__record){.tag = (unsigned char)tag,
                   .kind = (unsigned char)kind,
                   .len = (uint32_t)(out->len - at - TM__RECORD_HEAD)});
}

/* Four words for xoshiro256**, drawn by splitmix64 as its authors advise,
   from a mix of (s, i): neighbouring items share no words. */
void tm__items_seed(lua_State *L, tm__state *s, int64_t seed, uint64_t i) {
  uint64_t mix = tm__mix64(tm__mix64((uint64_t)seed + 1) + i);
  if (s->random) {
    uint64_t *words = s->random;
    for (int k = 0; k < 4; k++) words[k] = tm__splitmix64(&mix);
    return;
  }
  lua_getglobal(L, "math");
  lua_getfield(L, -1, "randomseed");
  lua_pushinteger(L, (lua_Integer)tm__splitmix64(&mix));
  lua_pushinteger(L, (lua_Integer)tm__splitmix64(&mix));
  lua_call(L, 2, 0);
  lua_pop(L, 1);
}

/* How many elements a tuple has: its n when it has one, else its length. */
static lua_Integer tuple_length(lua_State *L, int tuple) {
  int whole = 1;
  lua_Integer n = (lua_Integer)lua_rawlen(L, tuple);
  if (lua_getfield(L, tuple, "n") != LUA_TNIL) {
    n = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : -1;
    if (!whole || n < 0 || n > MOST_ARGUMENTS)
      luaL_error(L,
                 "the 'n' of a table of arguments is %s, not a count of "
                 "arguments",
                 luaL_tolstring(L, -1, NULL));
  }
  lua_pop(L, 1);
  if (n > MOST_ARGUMENTS) luaL_error(L, "too many arguments (%I)", n);
  return n;
}

int tm__items_spread(lua_State *L) {
  int tuple = lua_gettop(L);
  if (!lua_istable(L, tuple))
    return luaL_error(L,
                      "starmap expects a table of arguments as each item "
                      "(got a %s)",
                      luaL_typename(L, tuple));
  lua_Integer n = tuple_length(L, tuple);
  luaL_checkstack(L, (int)n + 4, "too many arguments");
  for (lua_Integer i = 1; i <= n; i++) lua_geti(L, tuple, i);
  lua_remove(L, tuple);
  return (int)n;
}

void tm__items_lend(tm__piece *p, tm__packer *packer) {
  tm__buf b = p->out;
  tm__keys k = p->keys;
  p->out = packer->buf;
  p->keys = packer->keys;
  packer->buf = b;
  packer->keys = k;
}

void tm__items_recover(tm__piece *p, tm__packer *packer) {
  if (packer && !p->out.data && packer->buf.data) tm__items_lend(p, packer);
}

static uint64_t next_of(const tm__piece *p) {
  /* relaxed: only this thread writes it */
  return atomic_load_explicit(&p->next, memory_order_relaxed);
}

/* Runs the items of a piece until one fails. What is the same for all of them
   is asked once: an item may be a few dozen ns. */
static void run_these(lua_State *L, run *r) {
  tm__piece *p = r->piece;
  const tm__spec *spec = &p->job->spec;
  const tm__items_ops ops = *r->ops;
  bool kwds = !lua_isnil(L, 2), seeded = spec->seeded, all = spec->all;
  r->begin = p->out.len;
  for (uint64_t i = next_of(p); i < p->last; i++) {
    if (tm__job_skips(p->job, i)) break;
    if (i > p->first && tm__piece_over(p)) break;
    if (seeded) tm__items_seed(L, r->state, spec->seed, i);
    lua_pushvalue(L, 3);
    int n = ops.arguments(L, p, i);
    if (kwds) lua_pushvalue(L, 2);
    lua_call(L, n + kwds, all ? LUA_MULTRET : 1);
    r->sending = true;
    ops.result(L, p, r->packer, i, TM__ITEMS_B + 1,
               all ? lua_gettop(L) - TM__ITEMS_B : 1);
    r->sending = false;
    lua_settop(L, TM__ITEMS_B);
    r->begin = p->out.len; /* the hook may raise where we return, too */
    tm__piece_advance(p);
  }
}

/* Whether there are more items. What jobs in between may have changed in the
   state is put right by who called us. */
static bool go_on(run *r) {
  if (r->state->context != r->context || next_of(r->piece) < r->piece->last)
    return false;
  r->over = !tm__piece_renew(r->piece); /* the hook may raise as we return */
  return !r->over;
}

/* Stack: run, kwds, function, a, b. */
static int run_items(lua_State *L) {
  run *r = lua_touserdata(L, 1);
  do run_these(L, r);
  while (go_on(r));
  return 0;
}

const lua_CFunction tm__items_runner = run_items;

/* Stack: run, {value, traceback}, nil, a, b. */
static int write_failure(lua_State *L) {
  run *r = lua_touserdata(L, 1);
  int kind = r->sending ? TM__FAIL_SEND : TM__FAIL_TASK;
  r->ops->failure(L, r->piece, r->packer, next_of(r->piece), kind);
  return 0;
}

/* The mark came out: why? False when an outer item is to unwind. */
static bool record_unwound(run *r) {
  int kind = TM__FAIL_CANCELLED;
  char text[100];
  tm__piece *p = r->piece;
  int depth = tm__worker_unwind(p->worker, &kind);
  if (depth >= 0 && depth < p->depth) return false;
  if (kind == TM__FAIL_TIMEOUT)
    snprintf(text, sizeof text, "timed out after %g s",
             (double)p->job->spec.timeout / 1e9);
  else
    snprintf(text, sizeof text, "%s", tm__kind_name(kind));
  return tm__record_text(&p->out, kind, text);
}

/* Calls write_failure for the error at the top; base is as in run_some. */
static int call_write_failure(lua_State *L, run *r, int base) {
  int error = lua_gettop(L);
  lua_pushcfunction(L, write_failure);
  lua_pushlightuserdata(L, r);
  lua_pushvalue(L, error);
  lua_pushnil(L);
  lua_pushvalue(L, base + 4);
  lua_pushvalue(L, base + 5);
  return lua_pcall(L, 5, 0, 0);
}

static bool record_text(lua_State *L, run *r, const char *otherwise) {
  return tm__record_text(&r->piece->out, TM__FAIL_TASK,
                         lua_isstring(L, -1) ? lua_tostring(L, -1) : otherwise);
}

/* An item failed; the error is at the top. False: give up. */
static bool record_failure(lua_State *L, run *r, int base) {
  tm__piece *p = r->piece;
  tm__items_recover(p, r->packer);
  p->out.len = r->begin;
  if (lua_touserdata(L, -1) == &tm__unwind_mark) return record_unwound(r);
  if (!lua_istable(L, -1)) return record_text(L, r, "error in error handling");
  if (call_write_failure(L, r, base) == LUA_OK) return true;
  tm__items_recover(p, r->packer);
  p->out.len = r->begin;
  return record_text(L, r, "the error cannot be sent");
}

/* False when there is nothing more to run. */
static bool run_some(lua_State *L, run *r, int base) {
  tm__piece *p = r->piece;
  lua_settop(L, base + 5); /* handler, kwds, function, a, b */
  lua_pushcfunction(L, run_items);
  lua_pushlightuserdata(L, r);
  for (int i = 2; i <= 5; i++) lua_pushvalue(L, base + i);
  r->sending = false;
  tm__unwind_begin(r->state, L, p->job->spec.timeout != 0);
  int status = lua_pcall(L, 5, 0, base + 1);
  tm__unwind_disarm(r->state);
  if (status == LUA_OK || r->over) return false;
  uint64_t item = next_of(p);
  if (item == p->last || !record_failure(L, r, base)) return false;
  tm__unwind_disarm(r->state);
  tm__piece_advance(p);
  return item + 1 < p->last && !tm__job_skips(p->job, item + 1);
}

void tm__items_run(lua_State *L, tm__piece *p, tm__packer *packer,
                   const tm__items_ops *ops) {
  run r = {.piece = p, .ops = ops, .packer = packer, .state = tm__state_get(L)};
  r.context = r.state->context;
  int base = lua_gettop(L) - 4;
  lua_State *running = r.state->running;
  r.state->running = L;
  tm__state *before = tm__unwind_enter(r.state);
  uint64_t words[4];
  bool saved = p->job->spec.seeded && r.state->random;
  if (saved) memcpy(words, r.state->random, sizeof words);
  lua_pushcfunction(L, tm__error_handler);
  lua_insert(L, base + 1);
  while (run_some(L, &r, base)) {
  }
  /* the state's own numbers go on where they were */
  if (saved) memcpy(r.state->random, words, sizeof words);
  tm__unwind_enter(before);
  r.state->running = running;
  lua_settop(L, base);
}
