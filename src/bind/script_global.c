/*
 * script_global.c: globals of scripts, and functions of the host's in them
 */
#include <string.h>

#include "bind/script.h"

/* ---- paths ---- */

/* Whether the value at an index is a table, or behaves like one. */
static bool has(lua_State *L, int index, const char *event) {
  if (lua_istable(L, index)) return true;
  if (!luaL_getmetafield(L, index, event)) return false;
  lua_pop(L, 1);
  return true;
}

/* The value at the top, whose path ends before `name`, is no table. */
static void no_table(lua_State *L, const char *path, const char *name) {
  lua_pushlstring(L, path, name > path ? (size_t)(name - path - 1) : 0);
  luaL_error(L, "%s: '%s' is a %s value, not a table", path,
             lua_tostring(L, -1), luaL_typename(L, -2));
}

/* The table at the top is replaced by its field, whose name is the n bytes at
   `name` in the path. */
static void step(lua_State *L, const char *path, const char *name, size_t n) {
  if (!has(L, -1, "__index")) no_table(L, path, name);
  lua_pushlstring(L, name, n);
  lua_gettable(L, -2);
  lua_remove(L, -2);
}

/* Pushes the table that has the last field of a path; its name. */
static const char *push_owner(lua_State *L, const char *path) {
  const char *name = path, *dot;
  lua_pushglobaltable(L);
  while ((dot = strchr(name, '.'))) {
    step(L, path, name, (size_t)(dot - name));
    name = dot + 1;
  }
  if (!has(L, -1, "__newindex") && !has(L, -1, "__index"))
    no_table(L, path, name);
  return name;
}

void tm__script_push_path(lua_State *L, const char *path) {
  const char *name = push_owner(L, path);
  step(L, path, name, strlen(name));
}

int tm__script_check_path(const tm__request *r, tm_error *e) {
  const char *at = r->name;
  if (!at) return tm__host_null(e, r->function);
  while (*at && *at != '.') {
    at += strcspn(at, ".");
    if (!*at) return TM_OK;
    at++;
  }
  return tm__fail(e, TM_EINVAL,
                  "%s: '%.200s' is no name, nor a path of names (\"a.b\")",
                  r->function, r->name);
}

/* ---- get and set ---- */

static int get(lua_State *L) {
  tm__request *r = lua_touserdata(L, 1);
  tm__script_push_path(L, r->name);
  tm__script_keep(L, &r->script->got, r->script, 1);
  *r->out = r->script->got.list[0];
  return 0;
}

int tm_script_get(tm_script *s, const char *name, tm_value *out, tm_error *e) {
  tm__request r = {
      .script = s, .function = "tm_script_get", .name = name, .out = out};
  if (!out) return tm__host_null(e, r.function);
  *out = tm_nil();
  int status = tm__script_check_path(&r, e);
  return status ? status : tm__script_do(get, &r, e);
}

static int set(lua_State *L) {
  tm__request *r = lua_touserdata(L, 1);
  const char *name = push_owner(L, r->name);
  tm__value_push(L, r->args[0]);
  lua_setfield(L, -2, name);
  return 0;
}

int tm_script_set(tm_script *s, const char *name, tm_value value, tm_error *e) {
  tm__request r = {.script = s,
                   .function = "tm_script_set",
                   .name = name,
                   .args = &value,
                   .nargs = 1};
  int status = tm__script_check_path(&r, e);
  return status ? status : tm__script_do(set, &r, e);
}

/* ---- functions of the host's ---- */

typedef struct closure {
  tm_function_fn fn;
  void *user;
} closure;

enum { MOST_RESULTS = 16 };

/* The arguments of a call while it lasts; collected when it was cut short. */
typedef struct frame {
  int32_t pid; /* of the process whose they are: a fork inherits none */
  int count;
  tm_value args[];
} frame;

static int frame_gc(lua_State *L) {
  frame *f = lua_touserdata(L, 1);
  if (f->pid == tm__pid()) tm__values_release(f->args, f->count);
  f->count = 0;
  return 0;
}

static frame *push_frame(lua_State *L, int n) {
  frame *f = lua_newuserdatauv(L, sizeof *f + (size_t)n * sizeof *f->args, 0);
  f->pid = tm__pid();
  f->count = 0;
  if (luaL_newmetatable(L, "tidemill.frame")) {
    lua_pushcfunction(L, frame_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  for (int i = 0; i < n; i++) {
    f->args[i] = tm__value_get(L, i + 1);
    f->count = i + 1;
  }
  return f;
}

/* The text is a copy on the stack: what is raised has our place before it. */
static int raise_status(lua_State *L, int status, const tm_error *e) {
  luaL_where(L, 1);
  lua_pushstring(L, e->text[0] ? e->text : tm_status_name(status));
  lua_concat(L, 2);
  return lua_error(L);
}

/* Results are pushed before the arguments are released: they may be among
   them. */
static int call_host(lua_State *L) {
  const closure *c = lua_touserdata(L, lua_upvalueindex(1));
  tm_value results[MOST_RESULTS];
  tm_error e = {.text = ""};
  int n = lua_gettop(L);
  frame *f = push_frame(L, n);
  int count = c->fn(c->user, f->args, n, results, MOST_RESULTS, &e);
  if (count > MOST_RESULTS)
    return luaL_error(L, "a function of the host answered %d results", count);
  if (count >= 0) luaL_checkstack(L, count + 8, "too many results");
  for (int i = 0; i < count; i++) tm__value_push(L, results[i]);
  tm__values_release(f->args, f->count);
  f->count = 0;
  return count < 0 ? raise_status(L, count, &e) : count;
}

static int set_function(lua_State *L) {
  tm__request *r = lua_touserdata(L, 1);
  const char *name = push_owner(L, r->name);
  closure *c = lua_newuserdatauv(L, sizeof *c, 0);
  *c = *(const closure *)r->closure;
  lua_pushcclosure(L, call_host, 1);
  lua_setfield(L, -2, name);
  return 0;
}

int tm_script_set_function(tm_script *s, const char *name, tm_function_fn fn,
                           void *user, tm_error *e) {
  closure c = {.fn = fn, .user = user};
  tm__request r = {.script = s,
                   .function = "tm_script_set_function",
                   .name = name,
                   .closure = &c};
  if (!fn) return tm__host_null(e, r.function);
  int status = tm__script_check_path(&r, e);
  return status ? status : tm__script_do(set_function, &r, e);
}
