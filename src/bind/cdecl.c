#include "bind/cdecl.h"

#include <stdio.h>
#include <string.h>

#include "store/array.h"

typedef struct parser {
  const char *at, *text;
  tm_error *e;
} parser;

static bool in_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '_';
}

static int expected(parser *p, const char *what) {
  return tm__fail(p->e, TM_EINVAL,
                  "declaration \"%.200s\": %s expected (column %d)", p->text,
                  what, (int)(p->at - p->text) + 1);
}

static void skip_space(parser *p) { p->at += strspn(p->at, " \t\r\n"); }

static bool take(parser *p, char c) {
  skip_space(p);
  if (*p->at != c) return false;
  p->at++;
  return true;
}

static size_t word_length(parser *p) {
  size_t n = 0;
  skip_space(p);
  while (in_word(p->at[n])) n++;
  return n;
}

static bool take_word(parser *p, const char *word) {
  size_t n = word_length(p);
  if (n != strlen(word) || strncmp(p->at, word, n) != 0) return false;
  p->at += n;
  return true;
}

/* Types of one word. */
static const struct {
  const char *name;
  tm__ctype type;
} words[] = {
#define INTEGER(type, sign)                                                    \
  {                                                                            \
#type, { .kind = TM__C_INT, .size = (int)sizeof(type), .is_signed = sign } \
  }
    {"void", {.kind = TM__C_VOID}},
    {"double", {.kind = TM__C_FLOAT, .size = 8}},
    {"float", {.kind = TM__C_FLOAT, .size = 4}},
    {"bool", {.kind = TM__C_INT, .size = 1}},
    INTEGER(_Bool, false),
    INTEGER(int8_t, true),
    INTEGER(uint8_t, false),
    INTEGER(int16_t, true),
    INTEGER(uint16_t, false),
    INTEGER(int32_t, true),
    INTEGER(uint32_t, false),
    INTEGER(int64_t, true),
    INTEGER(uint64_t, false),
    INTEGER(size_t, false),
    INTEGER(ptrdiff_t, true),
    INTEGER(intptr_t, true),
    INTEGER(uintptr_t, false)};
#undef INTEGER

/* char, short, int, long and long long, with signed and unsigned. */
static bool take_integer(parser *p, tm__ctype *out) {
  int longs = 0, found = 0, size = (int)sizeof(int);
  bool is_unsigned = false, is_char = false;
  for (;; found++) {
    if (take_word(p, "unsigned"))
      is_unsigned = true;
    else if (take_word(p, "long"))
      size = ++longs > 1 ? (int)sizeof(long long) : (int)sizeof(long);
    else if (take_word(p, "short"))
      size = (int)sizeof(short);
    else if (take_word(p, "char"))
      is_char = true;
    else if (!take_word(p, "signed") && !take_word(p, "int"))
      break;
  }
  if (is_char) size = 1;
  *out =
      (tm__ctype){.kind = TM__C_INT, .size = size, .is_signed = !is_unsigned};
  return found > 0;
}

static bool take_base(parser *p, tm__ctype *out, bool *is_char) {
  const char *before = p->at + strspn(p->at, " \t\r\n");
  *is_char = strncmp(before, "char", 4) == 0;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (take_word(p, words[i].name)) {
      *out = words[i].type;
      return true;
    }
  return take_integer(p, out);
}

/* The array element that is laid out as this type. */
static int dtype_of(const tm__ctype *t) {
  if (t->kind == TM__C_FLOAT) return t->size == 8 ? TM__F64 : TM__F32;
  if (t->kind != TM__C_INT) return -1;
  if (t->size == 8) return TM__I64;
  if (t->size == 4) return TM__I32;
  return t->size == 1 && !t->is_signed ? TM__U8 : -1;
}

static int parse_type(parser *p, tm__ctype *out) {
  bool is_char, is_const = take_word(p, "const");
  if (!take_base(p, out, &is_char)) return expected(p, "a type");
  is_const = take_word(p, "const") || is_const;
  out->dtype = dtype_of(out);
  if (!take(p, '*')) return TM_OK;
  if (take(p, '*')) return expected(p, "no pointer to a pointer");
  take_word(p, "restrict");
  take_word(p, "const");
  *out = (tm__ctype){.kind = is_char && is_const ? TM__C_STRING : TM__C_POINTER,
                     .size = (int)sizeof(void *),
                     .is_const = is_const,
                     .dtype = is_char ? TM__U8 : out->dtype};
  return TM_OK;
}

static int parse_param(parser *p, tm__cdecl *d) {
  if (d->count == TM__CDECL_PARAMS) return expected(p, "at most 16 parameters");
  tm__ctype *t = &d->params[d->count++];
  int status = parse_type(p, t);
  if (status) return status;
  p->at += word_length(p);
  return t->kind == TM__C_VOID ? expected(p, "a type that is not void") : TM_OK;
}

static int parse_params(parser *p, tm__cdecl *d) {
  parser before = *p;
  if (take_word(p, "void") && take(p, ')')) return TM_OK;
  *p = before;
  if (take(p, ')')) return TM_OK;
  do {
    int status = parse_param(p, d);
    if (status) return status;
  } while (take(p, ','));
  return take(p, ')') ? TM_OK : expected(p, "',' or ')'");
}

int tm__cdecl_parse(tm__cdecl *out, const char *text, tm_error *e) {
  parser p = {.at = text, .text = text, .e = e};
  *out = (tm__cdecl){.count = 0};
  int status = parse_type(&p, &out->result);
  if (status) return status;
  size_t n = word_length(&p);
  if (n == 0 || n >= sizeof out->name) return expected(&p, "a name");
  memcpy(out->name, p.at, n);
  p.at += n;
  if (!take(&p, '(')) return expected(&p, "'('");
  status = parse_params(&p, out);
  if (status) return status;
  take(&p, ';');
  skip_space(&p);
  return *p.at ? expected(&p, "the end") : TM_OK;
}
