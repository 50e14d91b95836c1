/*
 * pack.h: Lua values to bytes (format.h); unpack.h is its mirror
 *
 * A packer is a userdata that owns the buffer under construction, so that a
 * Lua error leaves nothing behind. One that rests in the state is used again.
 *
 * Functions name globals and values have classes: both become sections of
 * the message. A job's items are packed by one packer that leaves its
 * sections to another (`code`), which packs the function and then all of
 * them, once.
 */
#ifndef TM_BIND_PACK_H
#define TM_BIND_PACK_H

#include "bind/bind.h"
#include "bind/memo.h"
#include "bind/words.h"

/* One step from the value that was given to the one that is packed. */
typedef struct tm__crumb {
  const struct tm__crumb *up;
  enum {
    CRUMB_KEY,
    CRUMB_META,
    CRUMB_UPVALUE,
    CRUMB_CLASS,
    CRUMB_REBUILT
  } kind;
  int index;                  /* stack index of the key or the function */
  const lua_Integer *element; /* or the key of an array, when not NULL */
  const char *text;           /* name of the upvalue */
} tm__crumb;

typedef struct tm__packer tm__packer;

/* Where a section lies in the buffer, and whether it can be skipped. */
typedef struct tm__section {
  uint64_t begin, body, end;
  bool entangled;
} tm__section;

enum { TM__CRUMBS_SHOWN = 24 };

struct tm__packer {
  lua_State *L;
  tm__state *state; /* NULL once it is freed */
  tm__store *store;
  const tm__mem *mem; /* of all but the message */
  int32_t pid; /* of the process whose buf and keys are: a fork inherits none */
  tm__buf buf;
  tm__keys keys;
  tm__memo memo;
  tm__words words;
  tm__packer *code; /* collects the sections; itself, or NULL: nobody */
  bool globals;     /* functions' globals are captured */
  uint64_t reader;  /* uid of the state that will read; 0: any. It has the
                       classes that it made itself */
  bool names_fresh;
  bool more;       /* the message has sections */
  uint64_t start;  /* of the message in buf */
  uint64_t origin; /* of its values: the memo counts from here */
  const void *globals_table;
  int self; /* stack index of the userdata; its user values: sections
                       found, bodies put off, anchors, the string __index */
  int depth;
  int rebuilding; /* in how many __tidemill_send we are */
  int ndeferred;
  int done_deferred;
  int nfound;
  tm__section *sections;
  int nsections, cap_sections;
  const tm__crumb *crumb;
  char root[120];      /* what is packed, for errors: "the function" */
  const char *item_of; /* or an item: what of it, a static text, */
  uint64_t item;       /* and its number */
};

/*
 * Pushes a packer, ready for a message. `code` as above (NULL: it collects
 * its own sections). Raises when there is no memory.
 */
tm__packer *tm__packer_push(lua_State *L, tm__packer *code);

/* The same for a message that is allocated from mem. */
tm__packer *tm__packer_push_in(lua_State *L, tm__packer *code,
                               const tm__mem *mem);

/* Writes the values at stack indices first .. first + n - 1 as the values
   of a message. Raises a "send" error that names the path to what cannot
   travel. Begin a buffer of several (items) with `again`: it empties the
   memo. */
void tm__pack_values(tm__packer *p, int first, int n);
void tm__pack_again(tm__packer *p);

/* Writes the sections found, when there are any, and ends the message. */
void tm__pack_sections(tm__packer *p);

/* The finished message; the packer at its stack index may be popped. */
tm__msg *tm__pack_seal(tm__packer *p);

/* Puts a packer that was sealed back to rest. */
void tm__packer_rest(lua_State *L, tm__packer *p);
void tm__packer_free(tm__packer *p);

/* What is packed from now on: "item 3", "the result of item 3". Cheap: the
   text is only made for an error. */
void tm__pack_item(tm__packer *p, const char *what, uint64_t item);

/* ---- for the files of pack ---- */

void tm__pack_value(tm__packer *p, int index);
void tm__pack_function(tm__packer *p, int index);
void tm__pack_upvalues(tm__packer *p, int index);
void tm__pack_userdata(tm__packer *p, int index);
/* Tables with a metatable, modules and classes; false: it is to be copied, with
   its metatable when *meta. */
bool tm__pack_special(tm__packer *p, int index, const void *object, bool *meta);
void tm__pack_table(tm__packer *p, int index);
void tm__pack_body(tm__packer *p, int index);
/* The body of a table that was put off. */
void tm__pack_late_body(tm__packer *p, int index);
/* Writes the string at index, which may well come again. */
void tm__pack_word(tm__packer *p, int index);
void tm__pack_metatable(tm__packer *p, int index);
void tm__pack_defer(tm__packer *p, int index);
void tm__pack_drain(tm__packer *p);
void tm__pack_anchor(tm__packer *p, int index);
bool tm__pack_later(const tm__packer *p);
bool tm__pack_find(const tm__packer *p, const void *object, uint64_t *at);
bool tm__pack_ref(tm__packer *p, const void *object);
void tm__pack_ref_at(tm__packer *p, uint64_t target);
void tm__pack_share(tm__packer *p, uint64_t target);
void tm__pack_note(tm__packer *p, const void *object);
void tm__pack_capture(tm__packer *p, const char *name, size_t len);
void tm__pack_class(tm__packer *p, int index);

/* Pushes the list of the globals' names found by a packer. */
void tm__pack_push_names(tm__packer *p);

/* Writes the name at the top of the stack, and pops it. */
void tm__pack_put_name(tm__packer *p);
/* Writes the name of the value at index; false when it has none. */
bool tm__pack_name(tm__packer *p, int index);
void tm__pack_no_memory(tm__packer *p);
void tm__pack_byte(tm__packer *p, int byte);
void tm__pack_u32(tm__packer *p, size_t x);
void tm__pack_u64(tm__packer *p, uint64_t x);
void tm__pack_text(tm__packer *p, const char *s, size_t n);

/* The root in words. */
const char *tm__pack_root(tm__packer *p);

static inline unsigned char *tm__pack_take(tm__packer *p, size_t n) {
  unsigned char *at = tm__buf_take(&p->buf, n);
  if (!at) tm__pack_no_memory(p);
  return at;
}

/* Raises the error for a value that cannot travel: "<path> is <what>". */
int tm__pack_cannot(tm__packer *p, const char *what);

/* The name of a function for messages: of a global or of a local variable
   of a running function that holds it, else "function <file:line>". */
void tm__function_name(lua_State *L, int index, char *out, size_t size);

#endif
