#include "bind/pack.h"

#include <stdio.h>

#include "bind/error.h"
#include "bind/format.h"
#include "bind/handle.h"
#include "bind/names.h"

/* ---- bytes ---- */

void tm__pack_no_memory(tm__packer *p) {
  luaL_error(p->L, "not enough memory to send %s", tm__pack_root(p));
}

void tm__pack_byte(tm__packer *p, int byte) {
  *tm__pack_take(p, 1) = (unsigned char)byte;
}

void tm__pack_u32(tm__packer *p, size_t x) {
  uint32_t word = (uint32_t)x;
  if (x > UINT32_MAX)
    luaL_error(p->L, "%s is too large to send", tm__pack_root(p));
  memcpy(tm__pack_take(p, sizeof word), &word, sizeof word);
}

void tm__pack_u64(tm__packer *p, uint64_t x) {
  memcpy(tm__pack_take(p, sizeof x), &x, sizeof x);
}

void tm__pack_text(tm__packer *p, const char *s, size_t n) {
  tm__pack_u32(p, n);
  if (n) memcpy(tm__pack_take(p, n), s, n);
}

static void put_word(tm__packer *p, int tag, const void *word) {
  unsigned char *at = tm__pack_take(p, 9);
  at[0] = (unsigned char)tag;
  memcpy(at + 1, word, 8);
}

/* ---- what was written before ---- */

/* The section that holds an offset; -1: the values do. */
static int section_of(const tm__packer *p, uint64_t offset) {
  int low = 0, high = p->nsections; /* sections below low begin before it */
  while (low < high) {
    int middle = low + (high - low) / 2;
    if (offset >= p->sections[middle].begin)
      low = middle + 1;
    else
      high = middle;
  }
  return low - 1;
}

/* Two parts of the message share something: neither can be skipped. */
static void entangle(tm__packer *p, uint64_t target) {
  int there = section_of(p, target), here = section_of(p, p->buf.len);
  if (there == here) return;
  if (there >= 0) p->sections[there].entangled = true;
  if (here >= 0) p->sections[here].entangled = true;
}

/* The flags of what was written at an offset: after its tag. */
void tm__pack_share(tm__packer *p, uint64_t target) {
  p->buf.data[target + 1] |= FLAG_SHARED;
  entangle(p, target);
}

bool tm__pack_find(const tm__packer *p, const void *object, uint64_t *at) {
  if (!tm__memo_get(&p->memo, (uintptr_t)object, at)) return false;
  *at += p->origin;
  return true;
}

void tm__pack_ref_at(tm__packer *p, uint64_t target) {
  uint64_t back = p->buf.len - target;
  tm__pack_share(p, target);
  put_word(p, TAG_REF, &back);
}

bool tm__pack_ref(tm__packer *p, const void *object) {
  uint64_t target;
  if (!tm__pack_find(p, object, &target)) return false;
  tm__pack_ref_at(p, target);
  return true;
}

void tm__pack_note(tm__packer *p, const void *object) {
  uint64_t at = p->buf.len - p->origin;
  if (!tm__memo_put(&p->memo, (uintptr_t)object, at)) tm__pack_no_memory(p);
}

/* ---- bodies put off ---- */

static void push_list(tm__packer *p, int which) {
  lua_State *L = p->L;
  if (lua_getiuservalue(L, p->self, which) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, p->self, which);
}

void tm__pack_anchor(tm__packer *p, int index) {
  index = lua_absindex(p->L, index);
  push_list(p, 3);
  lua_pushvalue(p->L, index);
  lua_rawseti(p->L, -2, (lua_Integer)lua_rawlen(p->L, -2) + 1);
  lua_pop(p->L, 1);
}

void tm__pack_defer(tm__packer *p, int index) {
  push_list(p, 2);
  lua_pushvalue(p->L, index);
  lua_rawseti(p->L, -2, ++p->ndeferred);
  lua_pop(p->L, 1);
}

void tm__pack_drain(tm__packer *p) {
  lua_State *L = p->L;
  while (p->done_deferred < p->ndeferred) {
    push_list(p, 2);
    lua_rawgeti(L, -1, ++p->done_deferred);
    lua_replace(L, -2);
    int index = lua_gettop(L);
    if (lua_isfunction(L, index))
      tm__pack_upvalues(p, index);
    else
      tm__pack_late_body(p, index);
    lua_pop(L, 1);
  }
}

/* What an object is rebuilt from must be whole when it is read. */
bool tm__pack_later(const tm__packer *p) {
  return p->depth >= TM__DEEPEST && !p->rebuilding;
}

/* ---- values ---- */

static void pack_number(tm__packer *p, int index) {
  if (lua_isinteger(p->L, index)) {
    lua_Integer i = lua_tointeger(p->L, index);
    put_word(p, TAG_INT, &i);
  } else {
    lua_Number x = lua_tonumber(p->L, index);
    put_word(p, TAG_FLOAT, &x);
  }
}

static void put_string(tm__packer *p, const char *s, size_t n) {
  unsigned char *at = tm__pack_take(p, 2 + n);
  at[0] = TAG_STRING;
  at[1] = (unsigned char)n;
  memcpy(at + 2, s, n);
}

/* Short strings are written each time; long ones once a message. */
static void pack_string(tm__packer *p, int index) {
  size_t n;
  const char *s = lua_tolstring(p->L, index, &n);
  if (n < 256) {
    put_string(p, s, n);
    return;
  }
  if (tm__pack_ref(p, s)) return;
  tm__pack_note(p, s);
  tm__pack_byte(p, TAG_TEXT);
  tm__pack_byte(p, 0);
  tm__pack_u64(p, n);
  memcpy(tm__pack_take(p, n), s, n);
}

/* A string that is likely to come again (words.h). */
void tm__pack_word(tm__packer *p, int index) {
  size_t n;
  tm__words *w = &p->words;
  const char *s = lua_tolstring(p->L, index, &n);
  if (n > TM__WORD_LONGEST) {
    pack_string(p, index);
    return;
  }
  tm__word *word = tm__words_find(w, s, n, p->buf.data + p->origin);
  if (word->epoch != w->epoch) {
    put_string(p, s, n);
    tm__words_meet(w, word, s, n, p->buf.len - n - p->origin);
  } else if (word->number) {
    unsigned char *at = tm__pack_take(p, 2);
    at[0] = TAG_WORD;
    at[1] = word->number;
  } else {
    word->number = (uint8_t)++w->numbered;
    tm__pack_byte(p, TAG_NEW_WORD);
    tm__pack_byte(p, word->number);
    tm__pack_byte(p, (int)n);
    memcpy(tm__pack_take(p, n), s, n);
  }
}

void tm__pack_value(tm__packer *p, int index) {
  lua_State *L = p->L;
  if (++p->depth > TM__TOO_DEEP) tm__pack_cannot(p, "nested too deeply");
  switch (lua_type(L, index)) {
  case LUA_TNIL: tm__pack_byte(p, TAG_NIL); break;
  case LUA_TBOOLEAN:
    tm__pack_byte(p, lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE);
    break;
  case LUA_TNUMBER: pack_number(p, index); break;
  case LUA_TSTRING: pack_string(p, index); break;
  case LUA_TTABLE: tm__pack_table(p, index); break;
  case LUA_TFUNCTION: tm__pack_function(p, index); break;
  case LUA_TUSERDATA: tm__pack_userdata(p, index); break;
  case LUA_TTHREAD: tm__pack_cannot(p, "a coroutine"); break;
  default:
    if (!tm__pack_name(p, index)) tm__pack_cannot(p, "a light userdata");
  }
  p->depth--;
}

void tm__pack_put_name(tm__packer *p) {
  size_t n;
  const char *name = lua_tolstring(p->L, -1, &n);
  tm__pack_byte(p, TAG_NAME);
  tm__pack_text(p, name, n);
  lua_pop(p->L, 1);
}

bool tm__pack_name(tm__packer *p, int index) {
  tm__packer *first = p->code ? p->code : p; /* one look for a whole job */
  if (!first->names_fresh) {
    tm__names_refresh(p->L);
    first->names_fresh = true;
  }
  if (!tm__name_find(p->state, p->L, index)) return false;
  tm__pack_put_name(p);
  return true;
}

/* ---- messages ---- */

static void clear_list(tm__packer *p, int which) {
  lua_pushnil(p->L);
  lua_setiuservalue(p->L, p->self, which);
}

void tm__pack_again(tm__packer *p) {
  p->more = false;
  tm__memo_clear(&p->memo);
  tm__words_clear(&p->words);
  if (p->ndeferred) clear_list(p, 2);
  p->ndeferred = p->done_deferred = 0;
  if (p->code != p || !p->nfound) return;
  clear_list(p, 1);
  p->nfound = p->nsections = 0;
}

static void pack_list(tm__packer *p, int first, int n) {
  p->start = p->buf.len;
  p->depth = p->rebuilding = 0;
  tm__pack_byte(p, p->more ? MESSAGE_MORE : 0);
  if (p->more) tm__pack_u64(p, 0); /* where the sections are */
  p->origin = p->buf.len;
  if (n < 255) {
    tm__pack_byte(p, n);
  } else {
    tm__pack_byte(p, 255);
    tm__pack_u32(p, (size_t)n);
  }
  for (int i = 0; i < n; i++) tm__pack_value(p, first + i);
  if (p->ndeferred) tm__pack_drain(p);
}

/* A message that turns out to need sections gets room for saying where they
   are. What is written refers back by distances, and so can be moved. */
void tm__pack_values(tm__packer *p, int first, int n) {
  enum { ROOM = 8 };
  pack_list(p, first, n);
  if (p->more || p->code != p || !p->nfound) return;
  size_t len = p->buf.len - p->origin;
  tm__pack_take(p, ROOM);
  unsigned char *values = p->buf.data + p->origin;
  memmove(values + ROOM, values, len);
  p->buf.data[p->start] = MESSAGE_MORE;
  p->origin += ROOM;
  p->more = true;
}

tm__msg *tm__pack_seal(tm__packer *p) {
  if (p->buf.len < sizeof(tm__msg)) tm__pack_no_memory(p);
  return tm__msg_seal(&p->buf, &p->keys);
}

/* ---- packers ---- */

/* Two packers at rest: a job packs its items and its code at once. */
static char spare_keys[2], meta_key;

void tm__packer_free(tm__packer *p) {
  if (!p || !p->state) return;
  if (p->pid == tm__pid()) {
    tm__buf_term(&p->buf);
    tm__keys_term(&p->keys, p->store);
  }
  tm__memo_term(&p->memo);
  tm__free(p->mem, p->sections);
  p->state = NULL;
}

static int packer_gc(lua_State *L) {
  tm__packer_free(lua_touserdata(L, 1));
  return 0;
}

static tm__packer *packer_new(lua_State *L, tm__state *s) {
  tm__packer *p = lua_newuserdatauv(L, sizeof *p, 4);
  const tm__mem *mem = &s->rt->mem;
  *p = (tm__packer){0};
  lua_pushliteral(L, "__index");
  lua_setiuservalue(L, -2, 4);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, packer_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_key);
  }
  lua_setmetatable(L, -2);
  p->mem = mem;
  tm__buf_init(&p->buf, mem);
  tm__keys_init(&p->keys, mem);
  tm__memo_init(&p->memo, mem);
  p->store = s->rt->store;
  p->state = s;
  return p;
}

static tm__packer *take_spare(lua_State *L) {
  for (int i = 0; i < 2; i++) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &spare_keys[i]) == LUA_TUSERDATA) {
      lua_pushnil(L);
      lua_rawsetp(L, LUA_REGISTRYINDEX, &spare_keys[i]);
      return lua_touserdata(L, -1);
    }
    lua_pop(L, 1);
  }
  return NULL;
}

static void use_memory(tm__packer *p, const tm__mem *mem) {
  if (p->buf.mem == mem) return;
  tm__buf_term(&p->buf);
  tm__keys_term(&p->keys, p->store);
  tm__buf_init(&p->buf, mem);
  tm__keys_init(&p->keys, mem);
}

tm__packer *tm__packer_push(lua_State *L, tm__packer *code) {
  return tm__packer_push_in(L, code, code ? code->buf.mem : NULL);
}

tm__packer *tm__packer_push_in(lua_State *L, tm__packer *code,
                               const tm__mem *mem) {
  tm__state *s = tm__state_get(L);
  tm__packer *p;
  tm__checkstack(L, LUA_MINSTACK);
  p = take_spare(L);
  if (!p) p = packer_new(L, s);
  p->L = L;
  p->pid = tm__pid();
  p->self = lua_gettop(L);
  p->code = code ? code : p;
  lua_pushglobaltable(L);
  p->globals_table = lua_topointer(L, -1);
  lua_pop(L, 1);
  p->globals = true;
  p->reader = 0;
  p->names_fresh = p->more = false;
  p->depth = p->rebuilding = p->ndeferred = p->done_deferred = 0;
  p->nfound = p->nsections = 0;
  p->crumb = NULL;
  p->item_of = NULL;
  memcpy(p->root, "the value", sizeof "the value");
  tm__memo_clear(&p->memo);
  tm__words_clear(&p->words);
  if (mem) use_memory(p, mem);
  if (!tm__msg_open(&p->buf)) tm__pack_no_memory(p);
  return p;
}

void tm__packer_rest(lua_State *L, tm__packer *p) {
  if (p->buf.mem != p->mem) use_memory(p, p->mem);
  if (p->nfound) clear_list(p, 1);
  if (p->ndeferred) clear_list(p, 2);
  clear_list(p, 3);
  p->buf.len = 0;
  tm__keys_term(&p->keys, p->store);
  for (int i = 0; i < 2; i++) {
    bool used = lua_rawgetp(L, LUA_REGISTRYINDEX, &spare_keys[i]) != LUA_TNIL;
    lua_pop(L, 1);
    if (used) continue;
    lua_pushvalue(L, p->self);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &spare_keys[i]);
    return;
  }
}
