/*
 * format.h: how Lua values are written as bytes
 *
 * A message is
 *   flags (1 byte: MORE when sections follow the values; then a u64 says at
 *   which byte of the message)
 *   n (1 byte; 255: a u32 follows), n values, the bodies put off by them
 *   sections, each with the bodies put off by it, then SECTION_END
 *
 * A value is a tag and what the tag says. Numbers are in the machine's own
 * order; u32 and u64 are unaligned.
 *
 *   INT i64 · FLOAT f64 · STRING len:u8 bytes · TEXT flags len:u64 bytes
 *   NEW_WORD number len:u8 bytes    a short string, a number for it from now on
 *   WORD number         the string that was given this number last
 *   TABLE flags narr:u32 npairs:u32 [metatable] body
 *   FUNCTION flags nup code upvalue...
 *   REF back:u64        what was written `back` bytes before this tag
 *   NAME len:u32 bytes  a module, or "module\0field"
 *   CLASS id:u64        a class or metatable with an identity
 *   HANDLE flags kind key:u64 len:u32 bytes
 *   REBUILD flags n function value...   (n values)
 *
 * The counts of a TABLE say how large to make it. Numbers of words hold within
 * the values, and within each section.
 *
 * What REF points to has SHARED in its flags, so that the reader keeps it.
 * A body is segments: FLOATS n f64..., INTS n i64..., VALUES n value...,
 * PAIRS n (key value)..., BODY_END. Array segments go on where the last one
 * ended, from 1. With LATER in its flags a value's body (a function's
 * upvalues) is not here but after the values, first put off, first written:
 * so neither side needs a deep stack.
 *
 * Code is CODE len:u32 bytes, or CODE_REF back:u64. An upvalue is UP_ENV, or
 * UP_REF back:u64, or UP_NEW flags value.
 *
 * A section is a global or a class that the values need:
 *   kind flags len:u64 hash:u64 name, then len bytes: a value, or a body with
 *   its metatable before it. The hash is of these bytes: what a worker has
 *   already is not read again, unless it shares something with other parts
 *   of the message (ENTANGLED).
 */
#ifndef TM_BIND_FORMAT_H
#define TM_BIND_FORMAT_H

#include <stdint.h>
#include <string.h>

enum tm__tag {
  TAG_NIL,
  TAG_FALSE,
  TAG_TRUE,
  TAG_INT,
  TAG_FLOAT,
  TAG_STRING,
  TAG_TEXT,
  TAG_TABLE,
  TAG_FUNCTION,
  TAG_REF,
  TAG_NAME,
  TAG_CLASS,
  TAG_HANDLE,
  TAG_REBUILD,
  TAG_GLOBALS,
  TAG_ERROR_META,
  TAG_NEW_WORD,
  TAG_WORD,
  TAG_COUNT
};

enum { MESSAGE_MORE = 1 };
enum { FLAG_SHARED = 1, FLAG_META = 2, FLAG_LATER = 4 };
enum { BODY_END, BODY_FLOATS, BODY_INTS, BODY_VALUES, BODY_PAIRS };
enum { CODE_NEW, CODE_REF };
enum { UP_ENV, UP_REF, UP_NEW };
enum { SECTION_END, SECTION_GLOBAL, SECTION_CLASS };
enum { SECTION_ENTANGLED = 1 };

/* Offsets in a table's head, from its tag. */
enum { TABLE_FLAGS = 1, TABLE_ARRAY = 2, TABLE_PAIRS = 6, TABLE_HEAD = 10 };

/* Offsets in a section's head, and its length before the name. */
enum {
  SECTION_FLAGS = 1,
  SECTION_LEN = 2,
  SECTION_HASH = 10,
  SECTION_HEAD = 18
};

/* Nesting up to which bodies are written in place. What an object is rebuilt
   from always is, and so such objects may not nest without end. */
enum { TM__DEEPEST = 160, TM__TOO_DEEP = 800 };

static inline uint32_t tm__get32(const unsigned char *p) {
  uint32_t x;
  memcpy(&x, p, sizeof x);
  return x;
}

static inline void tm__put32(unsigned char *p, uint32_t x) {
  memcpy(p, &x, sizeof x);
}

static inline uint64_t tm__get64(const unsigned char *p) {
  uint64_t x;
  memcpy(&x, p, sizeof x);
  return x;
}

#endif
