#include "bind/module.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind/embed.h"
#include "bind/larray.h"
#include "bind/lcfunction.h"
#include "bind/lcompile.h"
#include "bind/lcounter.h"
#include "bind/ljob.h"
#include "bind/lkernel.h"
#include "bind/llog.h"
#include "bind/lpool.h"
#include "bind/lstore.h"
#include "bind/lsubmit.h"
#include "bind/ltask.h"
#include "bind/names.h"
#include "bind/pack.h"
#include "bind/unpack.h"
#include "bind/value.h"
#include "host/setting.h"

/* ---- functions of the module itself ---- */

/* cpus() -> {usable=, online=, affinity=, quota=, why=} */
static int cpus(lua_State *L) {
  const tm__cpus *c = &tm__state_get(L)->rt->cpus;
  lua_createtable(L, 0, 5);
  lua_pushinteger(L, c->usable);
  lua_setfield(L, -2, "usable");
  lua_pushinteger(L, c->online);
  lua_setfield(L, -2, "online");
  lua_pushinteger(L, c->affinity);
  lua_setfield(L, -2, "affinity");
  lua_pushnumber(L, c->quota);
  lua_setfield(L, -2, "quota");
  lua_pushstring(L, c->why);
  lua_setfield(L, -2, "why");
  return 1;
}

/* arena_stats() -> {reserved=, used=, blocks=, segments=} */
static int arena_stats(lua_State *L) {
  tm__arena_stats stats;
  tm__arena_stat(tm__state_get(L)->rt->arena, &stats);
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, (lua_Integer)stats.reserved);
  lua_setfield(L, -2, "reserved");
  lua_pushinteger(L, (lua_Integer)stats.used);
  lua_setfield(L, -2, "used");
  lua_pushinteger(L, (lua_Integer)stats.blocks);
  lua_setfield(L, -2, "blocks");
  lua_pushinteger(L, stats.segments);
  lua_setfield(L, -2, "segments");
  return 1;
}

/* clock() -> seconds of a clock that never goes back */
static int clock_seconds(lua_State *L) {
  lua_pushnumber(L, (lua_Number)tm__now() / 1e9);
  return 1;
}

/* setenv(name, value): for what is loaded after */
static int set_environment(lua_State *L) {
  if (setenv(luaL_checkstring(L, 1), luaL_checkstring(L, 2), 1))
    return luaL_error(L, "cannot set %s", lua_tostring(L, 1));
  return 0;
}

/* isatty(fd) -> whether a file descriptor is a terminal */
static int is_terminal(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* set_threads(n), set_pin(policy), set_arena(bytes): of the runtime */
static int set_threads(lua_State *L) {
  atomic_store(&tm__state_get(L)->rt->threads, (int)luaL_checkinteger(L, 1));
  return 0;
}

static int set_pin(lua_State *L) {
  int policy = TM__PIN_AUTO;
  if (lua_isboolean(L, 1))
    policy = lua_toboolean(L, 1) ? TM__PIN_YES : TM__PIN_NO;
  atomic_store(&tm__state_get(L)->rt->pin, policy);
  return 0;
}

/* set_worker_command(path or nil): what spawned workers run */
static int set_worker_command(lua_State *L) {
  tm_error e;
  if (tm__runtime_command(tm__state_get(L)->rt, luaL_optstring(L, 1, NULL), &e))
    return tm__raise(L, &e);
  return 0;
}

static int set_arena(lua_State *L) {
  tm_error e;
  if (tm__runtime_arena(tm__state_get(L)->rt, (size_t)luaL_checkinteger(L, 1),
                        &e))
    return tm__raise(L, &e);
  return 0;
}

/* threads() -> workers of the shared thread pool */
static int get_threads(lua_State *L) {
  lua_pushinteger(L, atomic_load(&tm__state_get(L)->rt->threads));
  return 1;
}

/* in_worker() -> whether this state is a worker's */
static int in_worker(lua_State *L) {
  lua_pushboolean(L, tm__state_get(L)->worker != NULL);
  return 1;
}

/* in_process() -> whether this process is a worker */
static int in_process(lua_State *L) {
  lua_pushboolean(L, tm__served != NULL);
  return 1;
}

/* set_processes(n): workers of the shared process pool */
static int set_processes(lua_State *L) {
  atomic_store(&tm__state_get(L)->rt->processes, (int)luaL_checkinteger(L, 1));
  return 0;
}

/* set_settings(table): what every state of the runtime reads */
static int set_settings(lua_State *L) {
  tm_runtime *rt = tm__state_get(L)->rt;
  luaL_checktype(L, 1, LUA_TTABLE);
  tm__packer *p = tm__packer_push(L, NULL);
  tm__pack_values(p, 1, 1);
  tm__msg *m = tm__pack_seal(p);
  pthread_mutex_lock(&rt->lock);
  tm__msg *before = rt->settings;
  rt->settings = m;
  pthread_mutex_unlock(&rt->lock);
  tm__msg_unref(before, &rt->mem, rt->store);
  tm__packer_rest(L, p);
  return 0;
}

/* host_settings() -> those that the host has set, by name */
static int host_settings(lua_State *L) {
  tm_value v;
  tm_error e;
  tm_runtime *rt = tm__state_get(L)->rt;
  lua_newtable(L);
  for (int i = 0; tm__setting_name(i); i++) {
    if (tm_setting_get(rt, tm__setting_name(i), &v, &e)) tm__raise(L, &e);
    tm__value_push(L, v);
    lua_setfield(L, -2, tm__setting_name(i));
  }
  return 1;
}

/* Stack: the message of the settings, held by the caller. */
static int read_settings(lua_State *L) {
  const tm__msg *m = lua_touserdata(L, 1);
  const unsigned char *at = tm__msg_bytes(m);
  return tm__unpack(L, &at, at + m->len, TM__UNPACK_PLAIN, 0);
}

/* settings() -> table, or nil when they were never set */
static int get_settings(lua_State *L) {
  tm_runtime *rt = tm__state_get(L)->rt;
  pthread_mutex_lock(&rt->lock);
  tm__msg *m = rt->settings ? tm__msg_ref(rt->settings) : NULL;
  pthread_mutex_unlock(&rt->lock);
  if (!m) return 0;
  lua_pushcfunction(L, read_settings);
  lua_pushlightuserdata(L, m);
  int status = lua_pcall(L, 1, 1, 0);
  tm__msg_unref(m, &rt->mem, rt->store);
  return status == LUA_OK ? 1 : lua_error(L);
}

/* pack(value) -> bytes; unpack(bytes) -> value: the codec, for its tests */
static int pack(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  tm__packer *p = tm__packer_push(L, NULL);
  tm__pack_values(p, 1, 1);
  tm__pack_sections(p);
  lua_pushlstring(L, (const char *)p->buf.data + sizeof(tm__msg),
                  p->buf.len - sizeof(tm__msg));
  tm__packer_rest(L, p);
  return 1;
}

static int unpack(lua_State *L) {
  size_t n;
  const unsigned char *at = (const unsigned char *)luaL_checklstring(L, 1, &n);
  return tm__unpack(L, &at, at + n, TM__UNPACK_STORE, 0);
}

static void register_core(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"cpus", cpus},
      {"arena_stats", arena_stats},
      {"clock", clock_seconds},
      {"setenv", set_environment},
      {"isatty", is_terminal},
      {"set_threads", set_threads},
      {"set_processes", set_processes},
      {"in_process", in_process},
      {"set_pin", set_pin},
      {"set_arena", set_arena},
      {"set_worker_command", set_worker_command},
      {"in_worker", in_worker},
      {"settings", get_settings},
      {"host_settings", host_settings},
      {"pack", pack},
      {"unpack", unpack},
      {"set_settings", set_settings},
      {"threads", get_threads},
      {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  lua_pushstring(L, tm_version());
  lua_setfield(L, -2, "version");
  lua_pushstring(L, LUA_RELEASE);
  lua_setfield(L, -2, "lua");
  lua_pushboolean(L, !(tm__state_get(L)->rt->flags & TM_USE_CONFIG));
  lua_setfield(L, -2, "embedded");
}

static int open_core(lua_State *L) {
  tm__state_get(L);
  lua_newtable(L);
  register_core(L);
  tm__pool_register(L);
  tm__job_register(L);
  tm__submit_register(L);
  tm__store_register(L);
  tm__counter_register(L);
  tm__array_register(L);
  tm__task_register(L);
  tm__kernel_register(L);
  tm__compile_register(L);
  tm__log_register(L);
  return 1;
}

/* ---- loading ---- */

/* The loader of an embedded module: upvalue 1 is its index. The chunk's name
   begins with "=tidemill": see names.c and pack_path.c. */
static int load_embedded(lua_State *L) {
  const struct tm__embedded *m =
      &tm__embedded[lua_tointeger(L, lua_upvalueindex(1))];
  lua_settop(L, 1);
  lua_pushfstring(L, "=%s", m->name);
  if (luaL_loadbufferx(L, m->source, m->length, lua_tostring(L, -1), "t"))
    return lua_error(L);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

/* Pushes the loader of a module of ours; false: it is none. */
static bool push_loader(lua_State *L, const char *name) {
  if (strcmp(name, "tidemill.core") == 0) {
    lua_pushcfunction(L, open_core);
    return true;
  }
  for (int i = 0; tm__embedded[i].name; i++) {
    if (strcmp(tm__embedded[i].name, name) != 0) continue;
    lua_pushinteger(L, i);
    lua_pushcclosure(L, load_embedded, 1);
    return true;
  }
  return false;
}

/* Stack: package.preload, a name. */
static int find_loader(lua_State *L) {
  return lua_type(L, 2) == LUA_TSTRING && push_loader(L, lua_tostring(L, 2));
}

/* Loaders are made when they are asked for: few workers need any, and all
   would have to wait for their making. */
static void preload_lazily(lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, find_loader);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

static void preload_all(lua_State *L) {
  for (int i = 0; tm__embedded[i].name; i++) {
    push_loader(L, tm__embedded[i].name);
    lua_setfield(L, -2, tm__embedded[i].name);
  }
  push_loader(L, "tidemill.core");
  lua_setfield(L, -2, "tidemill.core");
}

void tm__module_preload(lua_State *L, tm_runtime *rt, tm__worker *w) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  if (w)
    preload_lazily(L);
  else
    preload_all(L);
  lua_pop(L, 1);
  tm__state_open(L, rt, w);
  tm__cfunction_enable(rt);
}

void tm__module_metatable(lua_State *L, const char *name) {
  if (luaL_getmetatable(L, name) != LUA_TNIL) return;
  lua_pop(L, 1);
  tm__module_core(L);
  luaL_getmetatable(L, name);
}

void tm__module_core(lua_State *L) {
  tm__checkstack(L, LUA_MINSTACK);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "tidemill.core") == LUA_TNIL) {
    lua_pushcfunction(L, open_core);
    lua_call(L, 0, 1);
    lua_setfield(L, -3, "tidemill.core");
  }
  lua_pop(L, 2);
}

static int preload(lua_State *L) {
  tm_runtime *rt = lua_touserdata(L, 1);
  tm__module_preload(L, rt, NULL);
  if (rt->on_state) tm__names_host(L);
  return 0;
}

int tm_open(tm_runtime *rt, lua_State *L, tm_error *e) {
  int status = tm__host_open(rt, "tm_open", e);
  if (status) return status;
  if (!L) return tm__host_null(e, "tm_open");
  if (!lua_checkstack(L, 8))
    return tm__fail(e, TM_ENOMEM, "the Lua stack is full");
  if (tm__state_find(L))
    return tm__fail(e, TM_EINVAL, "tidemill is open in this Lua state");
  lua_pushcfunction(L, preload);
  lua_pushlightuserdata(L, rt);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return TM_OK;
  tm__fail(e, TM_ELUA, "%s", lua_tostring(L, -1));
  lua_pop(L, 1);
  return TM_ELUA;
}

/* ---- the module in a state without a host ---- */

static int free_runtime(lua_State *L) {
  tm_runtime **box = lua_touserdata(L, 1);
  tm_runtime_free(*box);
  *box = NULL;
  return 0;
}

/* A runtime that ends with the Lua state: this userdata is older than all
   others of ours, and so is finalised last. */
static void make_runtime(lua_State *L) {
  tm_config c;
  tm_error e;
  tm_runtime **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, free_runtime);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, box);
  tm_config_init(&c);
  c.flags = TM_USE_SIGNALS | TM_USE_CONFIG | TM_USE_STDERR;
  if (tm_runtime_new(box, &c, &e)) luaL_error(L, "%s", e.text);
  tm__module_preload(L, *box, NULL);
}

int luaopen_tidemill(lua_State *L) {
  if (!tm__state_find(L)) make_runtime(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_getfield(L, -1, "tidemill");
  lua_pushliteral(L, "tidemill");
  lua_call(L, 1, 1);
  return 1;
}

int luaopen_tidemill_core(lua_State *L) {
  if (!tm__state_find(L)) make_runtime(L);
  return open_core(L);
}
