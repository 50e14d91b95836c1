/*
 * pack_table.c: tables
 */
#include "bind/array_part.h"
#include "bind/error.h"
#include "bind/format.h"
#include "bind/pack.h"

/*
 * One traversal of a table: keys 1, 2, 3 ... as they come are the array, what
 * comes after the first that does not are pairs. While there is `more`, a
 * value is at the top of the stack.
 *
 * Elements up to `direct` are known to lie in the array part: they are read by
 * their keys, and left on the stack, a few at a time. Then lua_next goes on,
 * with a key at `key` and its value above.
 */
typedef struct walk {
  lua_State *L;
  int table, key;
  lua_Integer expected; /* the next key of the array */
  lua_Integer direct;
  int type; /* of the value, where it was told */
  bool more;
  tm__crumb crumb; /* where the walk is */
} walk;

enum { LEFT_ON_STACK = 16 };

/* From the elements that are read by their keys to the rest. */
static void go_on(walk *w) {
  lua_settop(w->L, w->key - 1);
  w->direct = 0;
  w->crumb.element = NULL;
  if (w->expected > 1)
    lua_pushinteger(w->L, w->expected - 1);
  else
    lua_pushnil(w->L);
  w->more = lua_next(w->L, w->table);
}

static inline void fetch(walk *w) {
  w->type = lua_rawgeti(w->L, w->table, w->expected);
  if (w->type == LUA_TNIL) go_on(w);
}

static inline void step(walk *w) {
  lua_settop(w->L, w->key);
  w->more = lua_next(w->L, w->table);
}

/* The element after this one, which is counted. */
static inline void next_element(walk *w) {
  if (w->direct == 0) {
    w->expected++;
    step(w);
  } else if (w->expected++ >= w->direct) {
    go_on(w);
  } else {
    if (w->expected % LEFT_ON_STACK == 0) lua_settop(w->L, w->key - 1);
    fetch(w);
  }
}

/* ---- the array ---- */

static inline bool in_array(const walk *w) {
  if (w->direct) return true;
  return w->more && lua_isinteger(w->L, w->key) &&
         lua_tointegerx(w->L, w->key, NULL) == w->expected;
}

/* Whether a float is at the top. What has a fraction is no integer: one
   question less. */
static inline bool get_float(const walk *w, double *x) {
  int type = w->direct ? w->type : lua_type(w->L, -1);
  if (type != LUA_TNUMBER) return false;
  *x = lua_tonumberx(w->L, -1, NULL);
  bool fraction = *x > -1e9 && *x < 1e9 && *x != (double)(int32_t)*x;
  return fraction || !lua_isinteger(w->L, -1);
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

/* Makes room for the words of an array at once. The rest of it may be
   something else: so when there is no room, that is no error yet. */
static void reserve_words(tm__packer *p, const walk *w) {
  enum { MOST = 2 << 20 };
  if (!w->direct) return;
  lua_Integer n = w->direct - w->expected + 1;
  if (n <= MOST && p->buf.cap - p->buf.len < (size_t)n * 8)
    tm__buf_grow(&p->buf, (size_t)n * 8 + 64);
}

static void pack_floats(tm__packer *p, walk *w, double x) {
  uint64_t at = begin_segment(p, BODY_FLOATS);
  lua_Integer first = w->expected;
  reserve_words(p, w);
  do {
    memcpy(tm__pack_take(p, 8), &x, 8);
    next_element(w);
  } while (in_array(w) && get_float(w, &x));
  end_segment(p, at, (uint64_t)(w->expected - first));
}

static void pack_ints(tm__packer *p, walk *w) {
  uint64_t at = begin_segment(p, BODY_INTS);
  lua_Integer first = w->expected;
  reserve_words(p, w);
  do {
    lua_Integer x = lua_tointegerx(w->L, -1, NULL);
    memcpy(tm__pack_take(p, 8), &x, 8);
    next_element(w);
  } while (in_array(w) && lua_isinteger(w->L, -1));
  end_segment(p, at, (uint64_t)(w->expected - first));
}

static void pack_values(tm__packer *p, walk *w) {
  uint64_t at = begin_segment(p, BODY_VALUES);
  lua_Integer first = w->expected;
  do {
    tm__pack_value(p, w->direct ? lua_gettop(w->L) : w->key + 1);
    next_element(w);
  } while (in_array(w));
  end_segment(p, at, (uint64_t)(w->expected - first));
}

/* Segments of numbers of one kind; after a few changes of kind, one of any
   kind. */
static void pack_array(tm__packer *p, walk *w) {
  enum { MOST_CHANGES = 3 };
  double x;
  for (int changes = 0; in_array(w); changes++) {
    if (changes <= MOST_CHANGES && lua_isinteger(w->L, -1))
      pack_ints(p, w);
    else if (changes <= MOST_CHANGES && get_float(w, &x))
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

static void begin_walk(const tm__packer *p, walk *w, int index,
                       lua_Unsigned n) {
  lua_State *L = p->L;
  *w = (walk){.L = L, .table = index, .key = lua_gettop(L) + 1, .expected = 1};
  w->crumb = (tm__crumb){.up = p->crumb, .kind = CRUMB_KEY, .index = w->key};
  if (n && p->state->sees_arrays &&
      n <= tm__array_part(lua_topointer(L, index))) {
    w->direct = (lua_Integer)n;
    w->crumb.element = &w->expected;
    fetch(w);
  } else {
    go_on(w);
  }
}

/* n is the table's length. */
static uint64_t pack_body(tm__packer *p, int index, lua_Unsigned n) {
  walk w;
  uint64_t pairs = 0;
  begin_walk(p, &w, index, n);
  p->crumb = &w.crumb;
  pack_array(p, &w);
  if (w.more) pairs = pack_pairs(p, &w);
  p->crumb = w.crumb.up;
  tm__pack_byte(p, BODY_END);
  return pairs;
}

void tm__pack_body(tm__packer *p, int index) {
  pack_body(p, index, lua_rawlen(p->L, index));
}

/* The body of a table of length n whose head was written at an offset. */
static void pack_fields(tm__packer *p, int index, lua_Unsigned n, uint64_t at) {
  uint64_t pairs = pack_body(p, index, n);
  tm__put32(p->buf.data + at + TABLE_PAIRS,
            pairs < INT32_MAX ? (uint32_t)pairs : 0);
}

void tm__pack_late_body(tm__packer *p, int index) {
  uint64_t at;
  if (tm__pack_find(p, lua_topointer(p->L, index), &at))
    pack_fields(p, index, lua_rawlen(p->L, index), at);
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

static void pack_head(tm__packer *p, lua_Unsigned n, int flags) {
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
  tm__checkstack(p->L, 16 + LEFT_ON_STACK);
  if (tm__pack_special(p, index, object, &meta)) return;
  note(p, object, entry, used);
  at = p->buf.len;
  bool later = tm__pack_later(p);
  lua_Unsigned n = lua_rawlen(p->L, index);
  pack_head(p, n, (meta ? FLAG_META : 0) | (later ? FLAG_LATER : 0));
  if (meta) tm__pack_metatable(p, index);
  if (later)
    tm__pack_defer(p, index);
  else
    pack_fields(p, index, n, at);
}
