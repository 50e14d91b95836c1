/*
 * pack_table.c: tables
 */
#include "bind/error.h"
#include "bind/format.h"
#include "bind/pack.h"

/*
 * One traversal of a table: keys 1, 2, 3 ... as they come are the array, what
 * comes after the first that does not are pairs. A key and its value are on
 * the stack, at `key` and above, while there are `more`.
 */
typedef struct walk {
  lua_State *L;
  int table, key;
  lua_Integer expected; /* the next key of the array */
  bool more;
} walk;

static inline void step(walk *w) {
  lua_settop(w->L, w->key);
  w->more = lua_next(w->L, w->table);
}

/* ---- the array ---- */

static inline bool in_array(const walk *w) {
  return w->more && lua_isinteger(w->L, w->key) &&
         lua_tointegerx(w->L, w->key, NULL) == w->expected;
}

/* Whether a float is at an index. What has a fraction is no integer: one
   question less. */
static inline bool get_float(lua_State *L, int index, double *x) {
  if (lua_type(L, index) != LUA_TNUMBER) return false;
  *x = lua_tonumberx(L, index, NULL);
  bool fraction = *x > -1e9 && *x < 1e9 && *x != (double)(int32_t)*x;
  return fraction || !lua_isinteger(L, index);
}

/* Answers where the number of elements goes. */
static uint64_t begin_segment(tm__packer *p, int kind) {
  unsigned char *at = tm__pack_take(p, 5);
  at[0] = (unsigned char)kind;
  return p->buf.len - 4;
}

static void end_segment(tm__packer *p, uint64_t at, uint64_t n) {
  tm__put32(p->buf.data + at, (uint32_t)n);
}

/* Makes room for words of an array at once. Its length is a guess, and may
   be a bad one: so this is no error. */
static void reserve_words(tm__packer *p, const walk *w) {
  enum { MOST = 2 << 20 };
  uint64_t n = (uint64_t)lua_rawlen(w->L, w->table) - (uint64_t)w->expected + 1;
  if (n <= MOST && p->buf.cap - p->buf.len < n * 8)
    tm__buf_grow(&p->buf, (size_t)n * 8 + 64);
}

static void pack_floats(tm__packer *p, walk *w, double x) {
  uint64_t at = begin_segment(p, BODY_FLOATS);
  lua_Integer first = w->expected;
  reserve_words(p, w);
  do {
    memcpy(tm__pack_take(p, 8), &x, 8);
    w->expected++;
    step(w);
  } while (in_array(w) && get_float(w->L, w->key + 1, &x));
  end_segment(p, at, (uint64_t)(w->expected - first));
}

static void pack_ints(tm__packer *p, walk *w) {
  uint64_t at = begin_segment(p, BODY_INTS);
  lua_Integer first = w->expected;
  reserve_words(p, w);
  do {
    lua_Integer x = lua_tointegerx(w->L, w->key + 1, NULL);
    memcpy(tm__pack_take(p, 8), &x, 8);
    w->expected++;
    step(w);
  } while (in_array(w) && lua_isinteger(w->L, w->key + 1));
  end_segment(p, at, (uint64_t)(w->expected - first));
}

static void pack_values(tm__packer *p, walk *w) {
  uint64_t at = begin_segment(p, BODY_VALUES);
  lua_Integer first = w->expected;
  do {
    tm__pack_value(p, w->key + 1);
    w->expected++;
    step(w);
  } while (in_array(w));
  end_segment(p, at, (uint64_t)(w->expected - first));
}

/* Segments of numbers of one kind; after a few changes of kind, one of any
   kind. */
static void pack_array(tm__packer *p, walk *w) {
  enum { MOST_CHANGES = 3 };
  double x;
  for (int changes = 0; in_array(w); changes++) {
    if (changes <= MOST_CHANGES && lua_isinteger(w->L, w->key + 1))
      pack_ints(p, w);
    else if (changes <= MOST_CHANGES && get_float(w->L, w->key + 1, &x))
      pack_floats(p, w, x);
    else
      pack_values(p, w);
  }
}

/* ---- pairs and bodies ---- */

static uint64_t pack_pairs(tm__packer *p, walk *w) {
  uint64_t n = 0, at = begin_segment(p, BODY_PAIRS);
  do {
    if (lua_type(w->L, w->key) == LUA_TSTRING)
      tm__pack_word(p, w->key);
    else
      tm__pack_value(p, w->key);
    tm__pack_value(p, w->key + 1);
    n++;
    step(w);
  } while (w->more);
  end_segment(p, at, n);
  return n;
}

uint64_t tm__pack_body(tm__packer *p, int index) {
  walk w = {.L = p->L,
            .table = index,
            .key = lua_gettop(p->L) + 1,
            .expected = 1};
  tm__crumb crumb = {.up = p->crumb, .kind = CRUMB_KEY, .index = w.key};
  uint64_t pairs = 0;
  p->crumb = &crumb;
  lua_pushnil(p->L);
  step(&w);
  pack_array(p, &w);
  if (w.more) pairs = pack_pairs(p, &w);
  p->crumb = crumb.up;
  tm__pack_byte(p, BODY_END);
  return pairs;
}

/* The body of a table whose head was written at an offset. */
static void pack_fields_at(tm__packer *p, int index, uint64_t at) {
  uint64_t n = tm__pack_body(p, index);
  tm__put32(p->buf.data + at + TABLE_PAIRS, n < INT32_MAX ? (uint32_t)n : 0);
}

void tm__pack_fields(tm__packer *p, int index) {
  uint64_t at;
  if (tm__pack_find(p, lua_topointer(p->L, index), &at))
    pack_fields_at(p, index, at);
}

/* ---- tables ---- */

void tm__pack_metatable(tm__packer *p, int index) {
  lua_State *L = p->L;
  tm__crumb crumb = {.up = p->crumb, .kind = CRUMB_META};
  p->crumb = &crumb;
  lua_getmetatable(L, index);
  int meta = lua_gettop(L);
  if (tm__error_is_meta(L, meta))
    tm__pack_byte(p, TAG_ERROR_META);
  else if (!tm__pack_name(p, meta))
    tm__pack_class(p, meta);
  lua_pop(L, 1);
  p->crumb = crumb.up;
}

static void pack_head(tm__packer *p, int index, int flags) {
  lua_Unsigned n = lua_rawlen(p->L, index);
  unsigned char *head = tm__pack_take(p, TABLE_HEAD);
  head[0] = TAG_TABLE;
  head[TABLE_FLAGS] = (unsigned char)flags;
  tm__put32(head + TABLE_ARRAY, n < INT32_MAX ? (uint32_t)n : 0);
  tm__put32(head + TABLE_PAIRS, 0);
}

/* Notes that an object is written here. The entry that was sought for it is
   a good one when nothing was added since. */
static void note(tm__packer *p, const void *object, tm__memo_entry *entry,
                 size_t used) {
  if (p->memo.used != used)
    tm__pack_note(p, object);
  else if (!tm__memo_fill(&p->memo, entry, (uintptr_t)object,
                          p->buf.len - p->origin))
    tm__pack_no_memory(p);
}

void tm__pack_table(tm__packer *p, int index) {
  const void *object = lua_topointer(p->L, index);
  tm__memo_entry *entry = tm__memo_seek(&p->memo, (uintptr_t)object);
  if (!entry) tm__pack_no_memory(p);
  uint64_t at;
  if (tm__memo_known(&p->memo, entry, &at)) {
    tm__pack_ref_at(p, at + p->origin);
    return;
  }
  size_t used = p->memo.used;
  bool meta = false;
  tm__checkstack(p->L, 16);
  if (tm__pack_special(p, index, object, &meta)) return;
  note(p, object, entry, used);
  at = p->buf.len;
  bool later = tm__pack_later(p);
  pack_head(p, index, (meta ? FLAG_META : 0) | (later ? FLAG_LATER : 0));
  if (meta) tm__pack_metatable(p, index);
  if (later)
    tm__pack_defer(p, index);
  else
    pack_fields_at(p, index, at);
}
