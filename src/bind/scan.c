#include "bind/scan.h"

#include <lua.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
 * A dumped function is, after a header of fixed form: source, two line
 * numbers, numparams, is_vararg, maxstacksize, code, constants, upvalues
 * (instack, index, kind), protos, debug information. Sizes are written
 * seven bits a byte, highest first, the last byte marked with 0x80.
 * (lundump.c, loadFunction.)
 */
typedef struct reader {
  const unsigned char *at, *end;
  tm__scan_fn found;
  void *user;
  bool failed;
} reader;

/* The opcodes that matter (lopcodes.h); the same in 5.4.0 to 5.4.8. */
enum {
  OP_LOADK = 3,
  OP_LOADKX = 4,
  OP_GETUPVAL = 9,
  OP_GETTABUP = 11,
  OP_GETTABLE = 12,
  OP_EXTRAARG = 82
};

/* Tags of constants (lobject.h). */
enum {
  K_NIL = 0,
  K_FALSE = 1,
  K_TRUE = 17,
  K_INT = 3,
  K_FLT = 19,
  K_SHORT = 4,
  K_LONG = 20
};

typedef struct constant {
  const char *text; /* NULL when it is not a string */
  size_t len;
} constant;

typedef struct proto {
  const unsigned char *code;
  size_t ncode, nconstants;
  constant *constants;
  bool *is_env;
  size_t nupvalues;
} proto;

static void skip(reader *r, size_t n) {
  if (n > (size_t)(r->end - r->at)) {
    r->failed = true;
    r->at = r->end;
  } else {
    r->at += n;
  }
}

static int byte(reader *r) {
  if (r->at == r->end) {
    r->failed = true;
    return 0;
  }
  return *r->at++;
}

static size_t size(reader *r) {
  size_t x = 0;
  int b;
  do {
    b = byte(r);
    if (x > SIZE_MAX >> 7) r->failed = true;
    x = x << 7 | (size_t)(b & 0x7f);
  } while (!(b & 0x80) && !r->failed);
  return x;
}

/* A number of things of at least `each` bytes; 0 when they cannot be. */
static size_t count(reader *r, size_t each) {
  size_t n = size(r);
  if (n > (size_t)(r->end - r->at) / each) r->failed = true;
  return r->failed ? 0 : n;
}

static constant string(reader *r) {
  size_t n = size(r);
  constant c = {NULL, 0};
  if (n == 0) return c;
  c.text = (const char *)r->at;
  c.len = n - 1;
  skip(r, n - 1);
  return c;
}

static void read_constant(reader *r, constant *c) {
  *c = (constant){NULL, 0};
  switch (byte(r)) {
  case K_NIL:
  case K_FALSE:
  case K_TRUE: break;
  case K_INT: skip(r, sizeof(lua_Integer)); break;
  case K_FLT: skip(r, sizeof(lua_Number)); break;
  case K_SHORT:
  case K_LONG: *c = string(r); break;
  default: r->failed = true;
  }
}

static uint32_t instruction(const proto *p, size_t pc) {
  uint32_t i;
  memcpy(&i, p->code + 4 * pc, 4);
  return i;
}

/* Fields of an instruction (lopcodes.h): op 7 bits, A 8, k 1, B 8, C 8. */
static unsigned op_of(uint32_t i) { return i & 0x7f; }
static unsigned a_of(uint32_t i) { return i >> 7 & 0xff; }
static unsigned b_of(uint32_t i) { return i >> 16 & 0xff; }
static unsigned c_of(uint32_t i) { return i >> 24 & 0xff; }
static unsigned bx_of(uint32_t i) { return i >> 15; }

static void report(reader *r, const proto *p, size_t k) {
  if (k < p->nconstants && p->constants[k].text)
    r->found(r->user, p->constants[k].text, p->constants[k].len);
}

static bool env(const proto *p, unsigned upvalue) {
  return upvalue < p->nupvalues && p->is_env[upvalue];
}

/*
 * The compiler reads a global in two ways. GETTABUP takes the name from one
 * of the first 256 constants. Long names and later constants go through
 * registers: GETUPVAL of the environment, LOADK(X) of the name, GETTABLE.
 */
static void scan_code(reader *r, const proto *p) {
  unsigned env_at = 256, name_at = 256;
  size_t name = 0;
  for (size_t pc = 0; pc < p->ncode; pc++) {
    uint32_t i = instruction(p, pc);
    switch (op_of(i)) {
    case OP_GETTABUP:
      if (env(p, b_of(i))) report(r, p, c_of(i));
      break;
    case OP_GETUPVAL: env_at = env(p, b_of(i)) ? a_of(i) : 256; break;
    case OP_LOADK:
      name_at = a_of(i);
      name = bx_of(i);
      break;
    case OP_LOADKX:
      name_at = a_of(i);
      if (pc + 1 < p->ncode) name = instruction(p, pc + 1) >> 7;
      break;
    case OP_GETTABLE:
      if (b_of(i) == env_at && c_of(i) == name_at) report(r, p, name);
      break;
    default: break;
    }
  }
}

static bool scan_function(reader *r, const bool *outer, size_t nouter,
                          int depth);

/* Which upvalues of an inner function are the environment: those that come
   from an upvalue of the outer one that is. */
static void read_upvalues(reader *r, proto *p, const bool *outer, size_t nouter,
                          bool top) {
  for (size_t i = 0; i < p->nupvalues && !r->failed; i++) {
    int in_stack = byte(r);
    size_t index = (size_t)byte(r);
    skip(r, 1);
    if (top)
      p->is_env[i] = i < nouter && outer[i];
    else
      p->is_env[i] = !in_stack && index < nouter && outer[index];
  }
}

static void skip_debug(reader *r) {
  skip(r, count(r, 1));   /* line information */
  size_t n = count(r, 2); /* absolute lines */
  for (size_t i = 0; i < n && !r->failed; i++) {
    size(r);
    size(r);
  }
  n = count(r, 3); /* local variables */
  for (size_t i = 0; i < n && !r->failed; i++) {
    string(r);
    size(r);
    size(r);
  }
  n = count(r, 1); /* names of upvalues */
  for (size_t i = 0; i < n && !r->failed; i++) string(r);
}

static void read_constants(reader *r, proto *p) {
  p->nconstants = count(r, 1);
  p->constants = calloc(p->nconstants + 1, sizeof *p->constants);
  if (!p->constants) r->failed = true;
  for (size_t i = 0; i < p->nconstants && !r->failed; i++)
    read_constant(r, &p->constants[i]);
}

static bool scan_function(reader *r, const bool *outer, size_t nouter,
                          int depth) {
  proto p = {0};
  if (depth > 200) r->failed = true;
  string(r);
  size(r);
  size(r);
  skip(r, 3);
  p.ncode = count(r, 4);
  p.code = r->at;
  skip(r, 4 * p.ncode);
  read_constants(r, &p);
  p.nupvalues = count(r, 3);
  p.is_env = calloc(p.nupvalues + 1, sizeof *p.is_env);
  if (!p.is_env) r->failed = true;
  if (!r->failed) read_upvalues(r, &p, outer, nouter, depth == 0);
  if (!r->failed) scan_code(r, &p);
  size_t nprotos = count(r, 1);
  for (size_t i = 0; i < nprotos && !r->failed; i++)
    scan_function(r, p.is_env, p.nupvalues, depth + 1);
  if (!r->failed) skip_debug(r);
  free(p.constants);
  free(p.is_env);
  return !r->failed;
}

bool tm__scan(const void *dump, size_t len, const bool *is_env, int nupvalues,
              tm__scan_fn found, void *user) {
  reader r = {.at = dump,
              .end = (const unsigned char *)dump + len,
              .found = found,
              .user = user};
  if (len < 4 || memcmp(dump, LUA_SIGNATURE, 4) != 0) return false;
  skip(&r, 4);
  if (byte(&r) != 0x54) return false;
  /* format, LUAC_DATA, three sizes, LUAC_INT, LUAC_NUM, number of upvalues
     */
  skip(&r, 1 + 6 + 3 + sizeof(lua_Integer) + sizeof(lua_Number) + 1);
  return scan_function(&r, is_env, (size_t)nupvalues, 0);
}
