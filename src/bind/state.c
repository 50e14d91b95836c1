#include "bind/handle.h"

#include "bind/array_part.h"
#include "bind/guest.h"

static char record_key;
static char table_keys[TM__T_COUNT];
char tm__unwind_mark;

static int record_gc(lua_State *L) {
  tm__state *s = lua_touserdata(L, 1);
  if (!s->rt || !tm__runtime_ours(s->rt)) return 0;
  tm__handle_orphan(s);
  tm__forked_orphan(s);
  if (s->inbox) tm__inbox_close(s->inbox);
  tm__inbox_unref(s->inbox);
  tm__runtime_unref(s->rt);
  s->rt = NULL;
  return 0;
}

tm__state *tm__state_find(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &record_key);
  tm__state *s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return s;
}

tm__state *tm__state_get(lua_State *L) {
  tm__state *s = tm__state_find(L);
  if (!s || !s->rt) luaL_error(L, "tidemill is not open in this Lua state");
  return s;
}

static void make_tables(lua_State *L) {
  static const char *const modes[TM__T_COUNT] = {
      [TM__T_IDS] = "k",  [TM__T_CLASSES] = "v",  [TM__T_NAMES] = "k",
      [TM__T_CODE] = "k", [TM__T_OBJECTS] = NULL, [TM__T_FILLED] = NULL};
  for (int i = 0; i < TM__T_COUNT; i++) {
    lua_newtable(L);
    if (modes[i]) {
      lua_createtable(L, 0, 1);
      lua_pushstring(L, modes[i]);
      lua_setfield(L, -2, "__mode");
      lua_setmetatable(L, -2);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &table_keys[i]);
  }
}

void tm__state_table(lua_State *L, int which) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &table_keys[which]);
}

/* math.random keeps its state in a userdata, its first upvalue: four 64-bit
   words (lmathlib.c, RanState) in every 5.4. Elsewhere: NULL. */
static void *random_state(lua_State *L) {
  void *words = NULL;
  lua_getglobal(L, "math");
  if (lua_istable(L, -1) && lua_getfield(L, -1, "random") == LUA_TFUNCTION) {
    if (lua_iscfunction(L, -1) && lua_getupvalue(L, -1, 1)) {
      if (lua_type(L, -1) == LUA_TUSERDATA &&
          lua_rawlen(L, -1) == 4 * sizeof(uint64_t))
        words = lua_touserdata(L, -1);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  lua_settop(L, -2);
  return words;
}

tm__state *tm__state_open(lua_State *L, tm_runtime *rt, tm__worker *w) {
  tm__state *s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = (tm__state){.worker = w};
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, record_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  s->rt = tm__runtime_ref(rt);
  s->uid = w ? w->uid : tm__runtime_uid(rt);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  s->main = lua_tothread(L, -1);
  lua_pop(L, 1);
  s->running = s->main;
  s->random = random_state(L);
  s->sees_arrays = tm__array_part_known(L);
  make_tables(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &record_key);
  return s;
}

tm__inbox *tm__state_inbox_of(tm__state *s) {
  if (!s->inbox)
    s->inbox = tm__inbox_new(&s->rt->inboxes, tm__arena_mem(s->rt->arena));
  return s->inbox;
}

tm__inbox *tm__state_inbox(lua_State *L) {
  tm__inbox *box = tm__state_inbox_of(tm__state_get(L));
  if (!box) luaL_error(L, "not enough memory");
  return box;
}

int tm__raise(lua_State *L, const tm_error *e) {
  if (e->code == TM_ENOMEM && !e->text[0])
    return luaL_error(L, "not enough memory");
  luaL_where(L, 1);
  lua_pushstring(L, e->text);
  lua_concat(L, 2);
  return lua_error(L);
}
