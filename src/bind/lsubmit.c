#include "bind/lsubmit.h"

#include <stdio.h>
#include <string.h>

#include "bind/error.h"
#include "bind/guest.h"
#include "bind/larray.h"
#include "bind/ljob.h"
#include "bind/lpool.h"
#include "bind/numbers.h"
#include "bind/pack.h"

/* Stack of submit: 1 pool, 2 function, 3 items, 4 their number, 5 spec. */
enum { POOL = 1, FUNCTION, ITEMS, COUNT, SPEC, BOX };

static lua_Integer get_integer(lua_State *L, const char *name) {
  lua_getfield(L, SPEC, name);
  lua_Integer i = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return i;
}

static bool get_boolean(lua_State *L, const char *name) {
  lua_getfield(L, SPEC, name);
  bool b = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return b;
}

static tm__spec read_spec(lua_State *L) {
  tm__spec spec = {.chunk = (uint64_t)get_integer(L, "chunksize"),
                   .retries = (uint32_t)get_integer(L, "retries"),
                   .collect = get_boolean(L, "collect"),
                   .spread = get_boolean(L, "spread"),
                   .all = get_boolean(L, "all"),
                   .window = (uint64_t)get_integer(L, "window")};
  lua_getfield(L, SPEC, "timeout");
  spec.timeout = (uint64_t)(lua_tonumber(L, -1) * 1e9);
  lua_getfield(L, SPEC, "seed");
  spec.seeded = !lua_isnil(L, -1);
  spec.seed = lua_tointeger(L, -1);
  lua_getfield(L, SPEC, "out");
  spec.out = tm__array_to(L, -1) != NULL;
  lua_pop(L, 1);
  lua_getfield(L, SPEC, "name");
  if (lua_isstring(L, -1))
    snprintf(spec.name, sizeof spec.name, "%s", lua_tostring(L, -1));
  lua_pop(L, 3);
  return spec;
}

/* A range: spec.first and spec.step; both integers or both floats. */
static bool read_range(lua_State *L, tm__items *items) {
  if (lua_getfield(L, SPEC, "first") == LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  lua_getfield(L, SPEC, "step");
  if (lua_isinteger(L, -1)) {
    items->kind = TM__ITEMS_INTS;
    items->start.i = lua_tointeger(L, -2);
    items->step.i = lua_tointeger(L, -1);
  } else {
    items->kind = TM__ITEMS_FLOATS;
    items->start.f = lua_tonumber(L, -2);
    items->step.f = lua_tonumber(L, -1);
  }
  lua_pop(L, 2);
  return true;
}

/* ---- jobs for workers ---- */

/* Offsets of items while they are packed, in a userdata; handed over to the
   job at the end. */
typedef struct offsets {
  const tm__mem *mem;
  int32_t pid; /* of the process whose list it is: a fork inherits none */
  uint64_t *list;
} offsets;

static int offsets_gc(lua_State *L) {
  offsets *o = lua_touserdata(L, 1);
  if (o->pid == tm__pid()) tm__free(o->mem, o->list);
  o->list = NULL;
  return 0;
}

static offsets *push_offsets(lua_State *L, const tm__mem *mem, uint64_t n) {
  offsets *o = lua_newuserdatauv(L, sizeof *o, 0);
  *o = (offsets){.mem = mem, .pid = tm__pid()};
  if (luaL_newmetatable(L, "tidemill.offsets")) {
    lua_pushcfunction(L, offsets_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  o->list = tm__calloc(mem, n, sizeof *o->list);
  if (!o->list) luaL_error(L, "not enough memory for %I items", n);
  return o;
}

static void pack_item(lua_State *L, tm__packer *p, uint64_t i, bool raw) {
  int type = raw ? lua_rawgeti(L, ITEMS, (lua_Integer)i + 1)
                 : lua_geti(L, ITEMS, (lua_Integer)i + 1);
  if (type == LUA_TNUMBER) {
    tm__number_write(L, -1, tm__pack_take(p, TM__NUMBER_SIZE));
  } else {
    tm__pack_again(p);
    tm__pack_values(p, lua_gettop(L), 1);
  }
  lua_pop(L, 1);
}

/* Writes n items that are all floats, or all integers, as 8 bytes each, and
   says so in *kind; false when they are not: nothing was written. */
static bool pack_numbers(lua_State *L, tm__packer *p, uint64_t n, int *kind) {
  size_t before = p->buf.len;
  unsigned char *at = tm__pack_take(p, n * sizeof(tm__number));
  bool whole = lua_rawgeti(L, ITEMS, 1) == LUA_TNUMBER && lua_isinteger(L, -1);
  lua_pop(L, 1);
  for (uint64_t i = 0; i < n; i++, at += sizeof(tm__number)) {
    tm__number x;
    bool fits = lua_rawgeti(L, ITEMS, (lua_Integer)i + 1) == LUA_TNUMBER &&
                lua_isinteger(L, -1) == whole;
    if (whole)
      x.i = lua_tointeger(L, -1);
    else
      x.f = lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (!fits) {
      p->buf.len = before;
      return false;
    }
    memcpy(at, &x, sizeof x);
  }
  *kind = whole ? TM__ITEMS_INT_LIST : TM__ITEMS_FLOAT_LIST;
  return true;
}

/* Packs the items; leaves the packer and the offsets on the stack. */
static tm__packer *pack_items(lua_State *L, tm__packer *code, tm__items *items,
                              bool apply, offsets **out) {
  uint64_t n = items->n;
  tm__packer *p = tm__packer_push(L, code);
  bool raw = !luaL_getmetafield(L, ITEMS, "__index");
  if (!raw) lua_pop(L, 1);
  if (raw && n > 1 && pack_numbers(L, p, n, &items->kind)) return p;
  offsets *o = n > 1 ? push_offsets(L, code->buf.mem, n) : NULL;
  if (apply) strcpy(p->root, "args");
  for (uint64_t i = 0; i < n; i++) {
    if (o) o->list[i] = p->buf.len - sizeof(tm__msg);
    if (!apply) tm__pack_item(p, "item", i + 1);
    pack_item(L, p, i, raw);
  }
  *out = o;
  return p;
}

/* package[field] when it is not what the workers were made with, else
   nil. */
static void push_path(lua_State *L, const char *name, const char *known) {
  lua_getglobal(L, LUA_LOADLIBNAME);
  if (lua_istable(L, -1))
    lua_getfield(L, -1, name);
  else
    lua_pushnil(L);
  lua_replace(L, -2);
  const char *path = lua_tostring(L, -1);
  if (path && known && strcmp(path, known) == 0) {
    lua_pop(L, 1);
    lua_pushnil(L);
  }
}

/* A message of its own, before all that may need modules. */
static void pack_paths(lua_State *L, tm__packer *p, const tm__paths *paths) {
  int first = lua_gettop(L) + 1;
  push_path(L, "path", paths->path);
  push_path(L, "cpath", paths->cpath);
  tm__pack_values(p, first, 2);
  tm__pack_again(p);
  lua_settop(L, first - 1);
}

/* Function, kwds, and the arrays that results go to and items come from. */
static void pack_code(lua_State *L, tm__packer *p) {
  snprintf(p->root, sizeof p->root, "the function");
  int first = lua_gettop(L) + 1;
  p->more = true;
  lua_pushvalue(L, FUNCTION);
  lua_getfield(L, SPEC, "kwds");
  lua_getfield(L, SPEC, "out");
  if (tm__array_to(L, ITEMS))
    lua_pushvalue(L, ITEMS);
  else
    lua_pushnil(L);
  tm__pack_values(p, first, 4);
  tm__pack_sections(p);
}

/* Packs the items, then the code with all that they need. Both stay with
   their packers until nothing can raise any more. */
static int make_job(lua_State *L, tm__pool *pool, const tm__spec *spec,
                    tm__items *items, tm__jobbox *box, tm_error *e) {
  tm__packer *code = tm__packer_push_in(L, NULL, pool->mem), *list = NULL;
  offsets *o = NULL;
  pack_paths(L, code, pool->guest_user);
  if (items->kind == TM__ITEMS_PACKED)
    list = pack_items(L, code, items, spec->all, &o);
  pack_code(L, code);
  lua_getiuservalue(L, code->self, 1); /* the classes, among others */
  lua_setiuservalue(L, BOX, 4);
  tm__msg *m = tm__pack_seal(code); /* nothing raises until it is the job's */
  if (list) items->packed = tm__pack_seal(list);
  if (o) {
    items->offsets = o->list;
    o->list = NULL;
  }
  int status = tm__job_new(&box->job, pool, spec, items, m, e);
  if (list) tm__packer_rest(L, list);
  tm__packer_rest(L, code);
  return status;
}

/* ---- jobs for the caller ---- */

static int make_direct(lua_State *L, tm__pool *pool, const tm__spec *spec,
                       tm__items *items, tm__jobbox *box, tm_error *e) {
  if (items->kind == TM__ITEMS_PACKED || items->kind == TM__ITEMS_STREAM)
    items->kind = TM__ITEMS_DIRECT;
  int status = tm__job_new(&box->job, pool, spec, items, NULL, e);
  if (status) return status;
  tm__direct *d = tm__calloc(pool->mem, 1, sizeof *d);
  if (!d) return tm__fail(e, TM_ENOMEM, "not enough memory for a job");
  *d = (tm__direct){.L = tm__state_get(L)->main, .ref = LUA_NOREF};
  box->job->user = d;
  lua_createtable(L, 5, 0);
  lua_pushvalue(L, FUNCTION);
  lua_rawseti(L, -2, 1);
  lua_getfield(L, SPEC, "kwds");
  lua_rawseti(L, -2, 2);
  if (!lua_isnil(L, ITEMS) && !spec->window)
    lua_pushvalue(L, ITEMS);
  else
    lua_newtable(L);
  lua_rawseti(L, -2, 3);
  if (spec->out)
    lua_getfield(L, SPEC, "out");
  else
    lua_newtable(L);
  lua_rawseti(L, -2, 4);
  lua_newtable(L);
  lua_rawseti(L, -2, 5);
  d->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return TM_OK;
}

/* ---- submit ---- */

/*
 * submit(pool, f, items, n, spec) -> job
 * items: a sequence of n, or an array, or nil with spec.first and
 * spec.step, or nil with spec.window for a stream. A fake pool runs the job
 * here and now, unless spec.lazy says that it is waited for anyhow.
 */
static int submit(lua_State *L) {
  tm_error e = {.text = ""};
  tm__poolbox *pb = tm__pool_check(L, POOL);
  luaL_checktype(L, SPEC, LUA_TTABLE);
  lua_settop(L, SPEC);
  tm__state *s = tm__state_get(L);
  tm__pool *pool = pb->pool;
  bool fake = pool->kind->runs_in_caller;
  tm__spec spec = read_spec(L);
  tm__items items = {.kind = TM__ITEMS_PACKED,
                     .n = (uint64_t)luaL_checkinteger(L, COUNT)};
  if (tm__array_to(L, ITEMS)) items.kind = TM__ITEMS_ARRAY;
  if (!read_range(L, &items) && spec.window) items.kind = TM__ITEMS_STREAM;
  tm__jobbox *box = tm__job_push(L);
  int status = fake ? make_direct(L, pool, &spec, &items, box, &e)
                    : make_job(L, pool, &spec, &items, box, &e);
  if (status) return tm__raise(L, &e);
  box->job->owner = s->uid;
  if (get_boolean(L, "notify") || (s->inbox && tm__inbox_watched(s->inbox)))
    tm__inbox_expect(tm__state_inbox(L), box->job);
  lua_settop(L, SPEC + 1);
  lua_pushvalue(L, POOL);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, FUNCTION);
  lua_setiuservalue(L, -2, 2);
  if (tm__pool_submit(pool, box->job, &e)) return tm__raise(L, &e);
  if (fake && !spec.window && !get_boolean(L, "lazy"))
    tm__job_run_inline(L, box->job, TM__FOREVER);
  if (box->job->inbox && items.n == 0 && !spec.window)
    tm__inbox_push(box->job->inbox, box->job);
  return 1;
}

/* Keeps what an item of a stream needed until its place is used again. */
static void keep_found(lua_State *L, tm__packer *p, uint64_t place) {
  if (lua_getiuservalue(L, 1, 4) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 4);
  }
  lua_getiuservalue(L, p->self, 1);
  lua_rawsetp(L, -2, (void *)(uintptr_t)(place + 1));
  lua_pop(L, 1);
}

/* feed(job, value): one more item of a stream; there must be room. */
static int feed(lua_State *L) {
  tm__jobbox *box = tm__job_check(L, 1);
  tm__job *job = box->job;
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  uint64_t i = atomic_load(&job->limit);
  if (tm__job_room(job, box->oldest) == 0)
    return luaL_error(L, "the stream is full");
  if (job->user) {
    tm__direct *d = job->user;
    lua_rawgeti(L, LUA_REGISTRYINDEX, d->ref);
    lua_rawgeti(L, -1, 3);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
    tm__job_feed(job, NULL);
    return 0;
  }
  tm__packer *p = tm__packer_push_in(L, NULL, job->pool->mem);
  tm__pack_item(p, "item", i + 1);
  tm__pack_values(p, 2, 1);
  tm__pack_sections(p);
  if (p->nfound) keep_found(L, p, i % job->spec.window);
  tm__job_feed(job, tm__pack_seal(p));
  tm__packer_rest(L, p);
  return 0;
}

void tm__submit_register(lua_State *L) {
  lua_pushcfunction(L, submit);
  lua_setfield(L, -2, "submit");
  lua_pushcfunction(L, feed);
  lua_setfield(L, -2, "feed");
}
