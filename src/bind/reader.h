/*
 * reader.h: what the files of unpack share
 */
#ifndef TM_BIND_READER_H
#define TM_BIND_READER_H

#include "bind/bind.h"
#include "bind/format.h"

/*
 * Stack slots of a reader hold tables that are made when first needed:
 * objects (offset -> what REF may name), later (bodies put off), metas
 * (objects that wait for the metatable of a class that is not filled yet),
 * words (number -> string).
 */
typedef struct tm__reader {
  lua_State *L;
  tm__state *state;
  const unsigned char *begin, *at, *end;
  int objects, later, metas, words;
  lua_Integer nlater, done, nmetas;
  int mode, context, depth;
  bool has_words;
  int lost; /* classes of this state that it has no more, still empty */
} tm__reader;

/* Raises the error for bytes that are not a message. */
int tm__read_malformed(tm__reader *r);

static inline const unsigned char *tm__read_take(tm__reader *r, uint64_t n) {
  const unsigned char *p = r->at;
  if (n > (uint64_t)(r->end - r->at)) tm__read_malformed(r);
  r->at += n;
  return p;
}

static inline int tm__read_byte(tm__reader *r) { return *tm__read_take(r, 1); }
static inline uint32_t tm__read_u32(tm__reader *r) {
  return tm__get32(tm__read_take(r, 4));
}

static inline uint64_t tm__read_u64(tm__reader *r) {
  return tm__get64(tm__read_take(r, 8));
}

/* Reads a value and pushes it. */
void tm__read_value(tm__reader *r);

/* Reads a body into the table at the top. */
void tm__read_body(tm__reader *r);

/* Reads a metatable for the object at the top. */
void tm__read_metatable(tm__reader *r);

/* Reads the bodies that were put off. */
void tm__read_drain(tm__reader *r);

/* Sets the metatables that waited for their class to be filled. */
void tm__read_give_waiting(tm__reader *r);

/* Whether this state has the content of a class. */
bool tm__read_filled(tm__reader *r, lua_Integer id);

/* Pushes the class of an identity, empty when this state has not got it. */
void tm__read_push_class(tm__reader *r, lua_Integer id);

/* Reads the sections that are entangled with the values, or those that are
   not. */
void tm__read_sections(tm__reader *r, bool entangled);

#endif
