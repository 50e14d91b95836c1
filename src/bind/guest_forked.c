/*
 * guest_forked.c: workers that have the script's own Lua state, forked
 *
 * The child is in the middle of a call of the script's, which never returns;
 * its tasks run in a coroutine of their own. What the script had is there:
 * globals, modules, objects of the store. Nothing is ever closed: the
 * finalisers of the script's objects are the script's to run.
 */
#include "bind/error.h"
#include "bind/guest.h"
#include "bind/handle.h"
#include "bind/items.h"
#include "bind/larray.h"
#include "bind/unwind.h"
#include "bind/worker_state.h"

static tm__state *script_of(const tm__worker *w) {
  const tm__paths *paths = w->pool->guest_user;
  return paths->script;
}

/* An array of the host's memory. The child has a copy of that, and would only
   keep the host from hearing that nobody uses its own. */
static bool is_wrapped(tm__handle *h) {
  return h->kind == TM__BUFFER &&
         ((const tm__arraybox *)(void *)h)->array.wrapped;
}

/* Each other handle of the script's is one of the child's, too. */
int tm__forked_inherit(tm__worker *w, tm_error *e) {
  tm__store *store = w->pool->rt->store;
  if (!script_of(w))
    return tm__fail(e, TM_ESYS, "the script that made the pool has ended");
  for (tm__handle *h = script_of(w)->handles; h; h = h->next)
    if (h->key && !is_wrapped(h) &&
        tm__ledger_inherit_key(store, w->seat->ledger, h->key) == TM_ENOMEM)
      return tm__fail(e, TM_ENOMEM, "not enough memory for a worker");
  return TM_OK;
}

/* A shared pool is then replaced by one of whoever asks for it next. */
static void orphan(tm__pool *pool, const void *script) {
  tm__paths *paths = pool->guest_user;
  if (pool->guest != &tm__guest_forked || !paths || paths->script != script)
    return;
  paths->script = NULL;
  tm__pool_close(pool);
}

void tm__forked_orphan(const tm__state *s) {
  tm__monitor_each(&s->rt->monitor, orphan, s);
}

static void disown_wrapped(tm__state *s) {
  for (tm__handle *h = s->handles; h; h = h->next)
    if (is_wrapped(h)) h->key = 0;
}

/* Stack: state (light userdata). Returns the coroutine of the tasks. */
static int adopt(lua_State *L) {
  tm__state *s = lua_touserdata(L, 1);
  lua_State *co = lua_newthread(L);
  luaL_ref(L, LUA_REGISTRYINDEX);
  lua_sethook(co, NULL, 0, 0);
  tm__worker_libraries(L);
  tm__items_seed(L, s, (int64_t)tm__entropy(), 0);
  lua_pushthread(co);
  lua_xmove(co, L, 1);
  return 1;
}

static size_t count(lua_State *L) {
  return (size_t)lua_gc(L, LUA_GCCOUNT) * 1024 +
         (size_t)lua_gc(L, LUA_GCCOUNTB);
}

int tm__forked_open(tm__worker *w, void **state, tm_error *e) {
  tm__state *s = script_of(w);
  lua_State *L = s->main;
  s->inbox = NULL; /* the script's own */
  s->worker = w;
  s->uid = w->uid;
  s->context = 0;
  s->raised_at = 0;
  disown_wrapped(s);
  if (!lua_checkstack(L, 8))
    return tm__fail(e, TM_ENOMEM, "not enough memory for a worker");
  lua_pushcfunction(L, adopt);
  lua_pushlightuserdata(L, s);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK)
    return tm__fail(e, TM_ENOMEM, "not enough memory for a worker");
  lua_State *co = lua_tothread(L, -1);
  lua_pop(L, 1);
  s->running = co;
  *state = co;
  s->inherited = count(co);
  return w->pool->initializer ? tm__guest_initialize(w, co, e) : TM_OK;
}

/* What the script had does not count: a fresh worker would have it too. */
size_t tm__forked_memory(tm__worker *w) {
  size_t now = count(w->state), before = tm__state_get(w->state)->inherited;
  return now > before ? now - before : 0;
}

void tm__forked_close(tm__worker *w, void *state) {
  tm__state *s = tm__state_get(state);
  (void)w;
  tm__inbox_unref(s->inbox);
  s->inbox = NULL;
}
