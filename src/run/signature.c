#include "run/signature.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* What kernels call the types is what arrays do. */
_Static_assert((int)TM_F64 == TM__F64 && (int)TM_F32 == TM__F32 &&
                   (int)TM_I64 == TM__I64 && (int)TM_I32 == TM__I32 &&
                   (int)TM_U8 == TM__U8 && (int)TM_C128 == TM__C128,
               "one numbering of types");

int tm__dtype_read(const char *text, size_t *len) {
  for (int i = 0; i < TM__DTYPES; i++) {
    *len = strlen(tm__dtype_name(i));
    if (strncmp(text, tm__dtype_name(i), *len) == 0) return i;
  }
  return -1;
}

/* ---- parsing ---- */

/* Where the parser is. Every parse_ function answers a status, with the error
   filled in. */
typedef struct parser {
  tm__signature *s;
  const char *at, *text;
  tm_error *e;
} parser;

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_space(parser *p) {
  while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')
    p->at++;
}

static int expected(parser *p, const char *what) {
  skip_space(p);
  char got[24];
  if (*p->at)
    snprintf(got, sizeof got, "'%.12s'", p->at);
  else
    strcpy(got, "the end");
  return tm__fail(p->e, TM_EINVAL,
                  "signature \"%s\": %s expected, got %s (column %d)", p->text,
                  what, got, (int)(p->at - p->text) + 1);
}

static bool take(parser *p, char c) {
  skip_space(p);
  if (*p->at != c) return false;
  p->at++;
  return true;
}

/* The word at the parser; 0 when there is none. Does not move. */
static size_t word_length(parser *p) {
  size_t n = 0;
  skip_space(p);
  if (is_letter(*p->at))
    while (is_letter(p->at[n]) || is_digit(p->at[n])) n++;
  return n;
}

static bool take_word(parser *p, const char *word) {
  size_t n = word_length(p);
  if (n != strlen(word) || memcmp(p->at, word, n) != 0) return false;
  p->at += n;
  return true;
}

static int parse_name(parser *p, char *out, const char *what) {
  size_t n = word_length(p);
  if (n == 0) return expected(p, what);
  if (n >= TM__NAME_SIZE) return expected(p, "a name of at most 31 letters");
  memcpy(out, p->at, n);
  out[n] = '\0';
  p->at += n;
  return TM_OK;
}

static int parse_number(parser *p, int64_t *out) {
  skip_space(p);
  if (!is_digit(*p->at)) return expected(p, "a number");
  for (*out = 0; is_digit(*p->at); p->at++) {
    if (*out > INT64_MAX / 20) return expected(p, "a smaller number");
    *out = *out * 10 + (*p->at - '0');
  }
  return TM_OK;
}

/* The number of an extent's name, made when it is new. The list has room for
   one name for each that the text can hold. */
static int extent_of(tm__signature *s, const char *name) {
  for (int i = 0; i < s->nnames; i++)
    if (strcmp(s->names[i], name) == 0) return i;
  strcpy(s->names[s->nnames], name);
  return s->nnames++;
}

static int parse_dim(parser *p, tm__dim *d) {
  char name[TM__NAME_SIZE];
  *d = (tm__dim){.kind = TM__DIM_ANY};
  if (take(p, '*')) return TM_OK;
  if (take(p, '#')) {
    d->kind = TM__DIM_ITEMS;
    return TM_OK;
  }
  skip_space(p);
  if (is_digit(*p->at)) {
    d->kind = TM__DIM_NUMBER;
    return parse_number(p, &d->offset);
  }
  int status = parse_name(p, name, "an extent (a name, a number, # or *)");
  if (status) return status;
  d->kind = TM__DIM_NAME;
  d->name = extent_of(p->s, name);
  if (take(p, '+')) return parse_number(p, &d->offset);
  if (!take(p, '-')) return TM_OK;
  status = parse_number(p, &d->offset);
  d->offset = -d->offset;
  return status;
}

static int parse_dims(parser *p, tm__param *param) {
  if (!take(p, '[')) return TM_OK;
  param->array = true;
  if (take(p, ']')) return TM_OK;
  do {
    if (param->rank == TM__RANK_MAX)
      return expected(p, "']' (the rank is at most 8)");
    int status = parse_dim(p, &param->dims[param->rank++]);
    if (status) return status;
  } while (take(p, ','));
  return take(p, ']') ? TM_OK : expected(p, "',' or ']'");
}

static int parse_param(parser *p, tm__param *param) {
  tm__signature *s = p->s;
  param->is_const = take_word(p, "const");
  size_t n = word_length(p), len;
  param->dtype = tm__dtype_read(p->at, &len);
  if (param->dtype < 0 || n != len)
    return expected(p, "a type (f64, f32, i64, i32, u8 or c128)");
  p->at += n;
  int status = parse_dims(p, param);
  if (status) return status;
  if (!param->array && param->dtype == TM_C128)
    return expected(p, "'[' (a c128 is always an array)");
  if (param->array && !word_length(p)) return TM_OK;
  status = parse_name(p, param->name, "a name");
  if (status) return status;
  for (const tm__param *other = s->params; other < param; other++)
    if (strcmp(other->name, param->name) == 0)
      return tm__fail(p->e, TM_EINVAL,
                      "signature \"%s\": two arguments are named '%s'", p->text,
                      param->name);
  return TM_OK;
}

static int parse_list(parser *p) {
  tm__signature *s = p->s;
  skip_space(p);
  if (!*p->at) return TM_OK;
  do {
    if (s->count == TM__PARAM_LIMIT) return expected(p, "at most 64 arguments");
    int status = parse_param(p, &s->params[s->count]);
    if (status) return status;
    s->count++;
  } while (take(p, ','));
  skip_space(p);
  return *p->at ? expected(p, "',' or the end") : TM_OK;
}

/* Which scalars are extents. */
static void link_scalars(tm__signature *s) {
  for (int i = 0; i < s->count; i++) {
    tm__param *param = &s->params[i];
    param->extent = -1;
    if (param->array || param->dtype != TM_I64) continue;
    for (int k = 0; k < s->nnames; k++)
      if (strcmp(s->names[k], param->name) == 0) param->extent = k;
  }
}

/* Every parameter and every extent takes a letter and a comma or bracket. */
static int allocate(tm__signature *s, const char *text, tm_error *e) {
  size_t len = strlen(text), most = len / 2 + 1;
  s->text = tm__alloc(s->mem, len + 1);
  s->params =
      tm__calloc(s->mem, most < TM__PARAM_LIMIT ? most : TM__PARAM_LIMIT,
                 sizeof *s->params);
  s->names = tm__calloc(s->mem, most, sizeof *s->names);
  if (!s->text || !s->params || !s->names)
    return tm__fail(e, TM_ENOMEM, "not enough memory for a signature");
  memcpy(s->text, text, len + 1);
  return TM_OK;
}

int tm__signature_init(tm__signature *s, const tm__mem *mem, const char *text,
                       tm_error *e) {
  parser p = {.s = s, .at = text, .text = text, .e = e};
  *s = (tm__signature){.mem = mem};
  int status = allocate(s, text, e);
  if (!status) status = parse_list(&p);
  if (status)
    tm__signature_term(s);
  else
    link_scalars(s);
  return status;
}

void tm__signature_term(tm__signature *s) {
  tm__free(s->mem, s->text);
  tm__free(s->mem, s->params);
  tm__free(s->mem, s->names);
  *s = (tm__signature){.mem = s->mem};
}

/* ---- checking ---- */

/* An extent's value and the argument that gave it; from -1: not yet known. */
typedef struct extent {
  int64_t value;
  int from;
} extent;

typedef struct checker {
  const tm__signature *s;
  const char *kernel;
  int64_t last; /* of the job's items */
  tm_error *e;
  extent extents[TM__PARAM_LIMIT * TM__RANK_MAX]; /* nnames are in use */
} checker;

enum { WORDS = 160 };

/* "f64[ny,nx+1]", as the signature has it. */
static const char *param_text(const tm__signature *s, const tm__param *p,
                              char out[WORDS]) {
  size_t n = (size_t)snprintf(out, WORDS, "%s%s%s", p->is_const ? "const " : "",
                              tm__dtype_name(p->dtype), p->array ? "[" : "");
  for (int i = 0; i < p->rank && n < WORDS - 48; i++) {
    const tm__dim *d = &p->dims[i];
    const char *comma = i ? "," : "";
    int more = 0;
    if (d->kind == TM__DIM_NUMBER)
      more =
          snprintf(out + n, WORDS - n, "%s%lld", comma, (long long)d->offset);
    else if (d->kind == TM__DIM_NAME && d->offset)
      more = snprintf(out + n, WORDS - n, "%s%s%+lld", comma, s->names[d->name],
                      (long long)d->offset);
    else
      more = snprintf(out + n, WORDS - n, "%s%s", comma,
                      d->kind == TM__DIM_NAME    ? s->names[d->name]
                      : d->kind == TM__DIM_ITEMS ? "#"
                                                 : "*");
    n += (size_t)more;
  }
  if (p->array) snprintf(out + n, WORDS - n, "]");
  return out;
}

/* "f32[10,20]", "2.5", "a string". */
static const char *value_text(const tm__value *v, char out[WORDS]) {
  const tm_arg *a = &v->arg;
  if (v->kind == TM__VALUE_INT) {
    snprintf(out, WORDS, "%lld", (long long)a->i);
  } else if (v->kind == TM__VALUE_FLOAT) {
    snprintf(out, WORDS, "%.14g", a->f);
  } else if (v->kind == TM__VALUE_OTHER) {
    snprintf(out, WORDS, "%s", v->what ? v->what : "nothing");
  } else {
    size_t n = (size_t)snprintf(out, WORDS, "%s[", tm__dtype_name(a->dtype));
    for (int i = 0; i < a->rank && n < WORDS - 32; i++)
      n += (size_t)snprintf(out + n, WORDS - n, "%s%lld", i ? "," : "",
                            (long long)a->shape[i]);
    snprintf(out + n, WORDS - n, "]");
  }
  return out;
}

const char *tm__signature_who(const tm__signature *s, const char *kernel, int i,
                              char out[TM__WHO]) {
  const char *name = i < s->count ? s->params[i].name : "";
  snprintf(out, TM__WHO, "kernel '%.60s': argument %d%s%s%s", kernel, i + 1,
           name[0] ? " '" : "", name, name[0] ? "'" : "");
  return out;
}

/* The beginning of every message. */
static const char *who(const checker *c, int i, char out[TM__WHO]) {
  return tm__signature_who(c->s, c->kernel, i, out);
}

static int wrong_type(const checker *c, int i, const tm__value *v) {
  char head[TM__WHO], want[WORDS], got[WORDS];
  return tm__fail(c->e, TM_EINVAL, "%s must be %s (got %s)", who(c, i, head),
                  param_text(c->s, &c->s->params[i], want), value_text(v, got));
}

/* A float that is a whole number counts as one, as it does for Lua. */
static bool to_integer(const tm__value *v, int64_t *out) {
  if (v->kind == TM__VALUE_INT) {
    *out = v->arg.i;
    return true;
  }
  double f = v->arg.f;
  if (v->kind != TM__VALUE_FLOAT || !(f >= -0x1p63 && f < 0x1p63)) return false;
  *out = (int64_t)f;
  return (double)*out == f;
}

static int check_scalar(checker *c, int i, const tm__value *v, tm_arg *out) {
  const tm__param *p = &c->s->params[i];
  *out = (tm_arg){.dtype = p->dtype};
  if (p->dtype == TM_F64 || p->dtype == TM_F32) {
    if (v->kind != TM__VALUE_INT && v->kind != TM__VALUE_FLOAT)
      return wrong_type(c, i, v);
    out->f = v->kind == TM__VALUE_INT ? (double)v->arg.i : v->arg.f;
    return TM_OK;
  }
  int64_t x;
  if (!to_integer(v, &x)) return wrong_type(c, i, v);
  if ((p->dtype == TM_I32 && (x < INT32_MIN || x > INT32_MAX)) ||
      (p->dtype == TM_U8 && (x < 0 || x > UINT8_MAX)))
    return wrong_type(c, i, v);
  out->i = x;
  if (p->extent >= 0) c->extents[p->extent] = (extent){.value = x, .from = i};
  return TM_OK;
}

static int check_array(const checker *c, int i, const tm__value *v,
                       tm_arg *out) {
  const tm__param *p = &c->s->params[i];
  char head[TM__WHO];
  if (v->kind != TM__VALUE_ARRAY || v->arg.dtype != p->dtype ||
      (p->rank && v->arg.rank != p->rank))
    return wrong_type(c, i, v);
  if (v->readonly && !p->is_const)
    return tm__fail(c->e, TM_EINVAL,
                    "%s is written to by the kernel, and the array is "
                    "read-only",
                    who(c, i, head));
  *out = v->arg;
  return TM_OK;
}

static int wrong_extent(const checker *c, int i, int k, const tm__value *v,
                        int64_t want, int from) {
  char head[TM__WHO], text[WORDS], got[WORDS], source[WORDS] = "";
  if (from >= 0) {
    const char *name = c->s->params[from].name;
    snprintf(source, sizeof source, "; %s = %lld comes from argument %d%s%s%s",
             c->s->names[c->s->params[i].dims[k].name],
             (long long)c->extents[c->s->params[i].dims[k].name].value,
             from + 1, name[0] ? " '" : "", name, name[0] ? "'" : "");
  }
  return tm__fail(c->e, TM_EINVAL,
                  "%s must be %s, whose extent %d is %s%lld (got %s%s)",
                  who(c, i, head), param_text(c->s, &c->s->params[i], text),
                  k + 1, from == -2 ? "at least " : "", (long long)want,
                  value_text(v, got), source);
}

static int check_dim(checker *c, int i, int k, const tm__value *v) {
  const tm__dim *d = &c->s->params[i].dims[k];
  int64_t got = v->arg.shape[k];
  if (d->kind == TM__DIM_NUMBER && got != d->offset)
    return wrong_extent(c, i, k, v, d->offset, -1);
  if (d->kind == TM__DIM_ITEMS && got < c->last)
    return wrong_extent(c, i, k, v, c->last, -2);
  if (d->kind != TM__DIM_NAME) return TM_OK;
  extent *x = &c->extents[d->name];
  if (x->from < 0) *x = (extent){.value = got - d->offset, .from = i};
  /* wraps where an i64 near its end is given: no array is that long */
  int64_t want = (int64_t)((uint64_t)x->value + (uint64_t)d->offset);
  return got == want ? TM_OK : wrong_extent(c, i, k, v, want, x->from);
}

int tm__signature_check(const tm__signature *s, const char *kernel,
                        tm__value *values, int n, int64_t last, tm_arg *args,
                        tm_error *e) {
  checker box, *c = &box;
  int status = TM_OK;
  c->s = s;
  c->kernel = kernel;
  c->last = last;
  c->e = e;
  if (n != s->count)
    return tm__fail(e, TM_EINVAL,
                    "kernel '%.60s': %d arguments expected, got %d (its "
                    "signature is \"%.200s\")",
                    kernel, s->count, n, s->text);
  for (int i = 0; i < s->nnames; i++) c->extents[i].from = -1;
  for (int i = 0; i < n && !status; i++)
    status = s->params[i].array ? check_array(c, i, &values[i], &args[i])
                                : check_scalar(c, i, &values[i], &args[i]);
  for (int i = 0; i < n && !status; i++)
    for (int k = 0; k < s->params[i].rank && !status; k++)
      status = check_dim(c, i, k, &values[i]);
  return status;
}
