#include "bind/llog.h"

#include "bind/bind.h"
#include "host/setting.h"

static int check_level(lua_State *L, int index) {
  static const char *const names[] = {"error", "warning", "info",
                                      "debug", "TODO",    NULL};
  return luaL_checkoption(L, index, "info", names) + 1;
}

/* log(text, level): writes a line at level "info" unless it says otherwise */
static int log_write(lua_State *L) {
  tm__state *s = tm__state_get(L);
  int level = check_level(L, 2);
  size_t n;
  if (!tm__log_on(&s->rt->log, level)) return 0;
  const char *text = luaL_tolstring(L, 1, &n);
  tm__log_write(&s->rt->log, level, s->indent, text, n);
  return 0;
}

/* log_level(level) -> the level before: lines above it are not written */
static int log_level(lua_State *L) {
  tm__state *s = tm__state_get(L);
  int before = tm__log_level(&s->rt->log);
  if (!lua_isnoneornil(L, 1)) tm__log_set_level(&s->rt->log, check_level(L, 1));
  lua_pushstring(L, tm__log_level_name(before));
  return 1;
}

/* log_open(path): lines go to the end of this file; nil: where they went at
   first */
static int log_open(lua_State *L) {
  tm_error e;
  tm__state *s = tm__state_get(L);
  if (tm__setting_log_file(s->rt, luaL_optstring(L, 1, NULL), &e))
    return tm__raise(L, &e);
  return 0;
}

/* log_indent(by) -> the indent before: of what this state logs */
static int log_indent(lua_State *L) {
  tm__state *s = tm__state_get(L);
  int before = s->indent;
  s->indent += (int)luaL_optinteger(L, 1, 0);
  if (s->indent < 0) s->indent = 0;
  lua_pushinteger(L, before);
  return 1;
}

void tm__log_register(lua_State *L) {
  static const luaL_Reg functions[] = {{"log", log_write},
                                       {"log_level", log_level},
                                       {"log_open", log_open},
                                       {"log_indent", log_indent},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
