#include "store/array.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

typedef struct type {
  const char *name;
  size_t size;
  int64_t least, most; /* of integer types */
} type;

static const type types[TM__DTYPES] = {
    [TM__F64] = {.name = "f64", .size = 8},
    [TM__F32] = {.name = "f32", .size = 4},
    [TM__I64] = {"i64", 8, INT64_MIN, INT64_MAX},
    [TM__I32] = {"i32", 4, INT32_MIN, INT32_MAX},
    [TM__U8] = {"u8", 1, 0, UINT8_MAX},
    [TM__C128] = {.name = "c128", .size = 16}};

const char *tm__dtype_name(int dtype) { return types[dtype].name; }

int tm__dtype_of(const char *name) {
  for (int i = 0; i < TM__DTYPES; i++)
    if (strcmp(types[i].name, name) == 0) return i;
  return -1;
}

size_t tm__dtype_size(int dtype) { return types[dtype].size; }

/* ---- shapes ---- */

/* Extents are checked without those that are 0 too: the strides of an empty
   array must not overflow either. */
bool tm__array_shape(tm__array *a, int dtype, int rank, const uint64_t *shape) {
  uint64_t bytes = types[dtype].size;
  bool fits = true;
  a->dtype = (uint8_t)dtype;
  a->rank = (uint8_t)rank;
  a->n = 1;
  for (int i = 0; i < rank; i++) {
    uint64_t extent = shape[i] ? shape[i] : 1;
    a->shape[i] = shape[i];
    a->n *= shape[i];
    if (__builtin_mul_overflow(bytes, extent, &bytes)) fits = false;
  }
  return fits && bytes <= PTRDIFF_MAX;
}

size_t tm__array_bytes(const tm__array *a) {
  return (size_t)a->n * types[a->dtype].size;
}

static void move(tm__array *a, uint64_t elements) {
  uint64_t bytes = elements * types[a->dtype].size;
  a->data += bytes;
  a->offset += bytes;
}

void tm__array_row(const tm__array *a, uint64_t i, tm__array *out) {
  *out = *a;
  out->rank--;
  out->n = 1;
  for (int k = 0; k < out->rank; k++) {
    out->shape[k] = a->shape[k + 1];
    out->n *= out->shape[k];
  }
  move(out, i * out->n);
}

void tm__array_slice(const tm__array *a, uint64_t first, uint64_t count,
                     tm__array *out) {
  uint64_t row = 1;
  for (int k = 1; k < a->rank; k++) row *= a->shape[k];
  *out = *a;
  out->shape[0] = count;
  out->n = count * row;
  move(out, first * row);
}

bool tm__array_alike(const tm__array *a, const tm__array *b) {
  return a->rank == b->rank &&
         memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

bool tm__array_same(const tm__array *a, const tm__array *b) {
  return a->key == b->key && a->offset == b->offset && a->dtype == b->dtype &&
         tm__array_alike(a, b);
}

/* ---- elements ---- */

void tm__array_get(const tm__array *a, uint64_t i, tm__element *out) {
  const unsigned char *at = a->data;
  *out = (tm__element){0};
  switch (a->dtype) {
  case TM__F64: out->re = ((const double *)(const void *)at)[i]; return;
  case TM__F32: out->re = (double)((const float *)(const void *)at)[i]; return;
  case TM__C128:
    out->re = ((const double *)(const void *)at)[2 * i];
    out->im = ((const double *)(const void *)at)[2 * i + 1];
    return;
  default: out->integer = true;
  }
  switch (a->dtype) {
  case TM__I64: out->i = ((const int64_t *)(const void *)at)[i]; break;
  case TM__I32: out->i = ((const int32_t *)(const void *)at)[i]; break;
  default: out->i = at[i];
  }
}

/* 2^63: the first double above every int64_t. */
#define BEYOND 0x1p63

static int to_integer(const type *t, const tm__element *x, int64_t *out) {
  *out = x->i;
  if (!x->integer) {
    if (x->im != 0) return TM__IMAGINARY;
    if (!(x->re >= -BEYOND && x->re < BEYOND)) return TM__RANGE;
    *out = (int64_t)x->re;
    if ((double)*out != x->re) return TM__FRACTION;
  }
  return *out < t->least || *out > t->most ? TM__RANGE : TM__FITS;
}

static int to_double(const tm__element *x, double *out) {
  *out = x->integer ? (double)x->i : x->re;
  if (!x->integer) return TM__FITS;
  return *out < BEYOND && (int64_t)*out == x->i ? TM__FITS : TM__INEXACT;
}

static int to_float(const tm__element *x, float *out) {
  *out = x->integer ? (float)x->i : (float)x->re;
  if (!x->integer) return TM__FITS;
  return (double)*out < BEYOND && (int64_t)*out == x->i ? TM__FITS
                                                        : TM__INEXACT;
}

/* The bytes of an element of this type. */
typedef union cell {
  double f64, c128[2];
  float f32;
  int64_t i64;
  int32_t i32;
  uint8_t u8;
} cell;

static int encode_float(int dtype, const tm__element *x, cell *out) {
  if (dtype == TM__C128) {
    out->c128[1] = x->integer ? 0 : x->im;
    return to_double(x, &out->c128[0]);
  }
  if (!x->integer && x->im != 0) return TM__IMAGINARY;
  return dtype == TM__F64 ? to_double(x, &out->f64) : to_float(x, &out->f32);
}

static int encode(int dtype, const tm__element *x, cell *out) {
  int64_t i;
  if (types[dtype].most == 0) return encode_float(dtype, x, out);
  int fit = to_integer(&types[dtype], x, &i);
  if (dtype == TM__I64)
    out->i64 = i;
  else if (dtype == TM__I32)
    out->i32 = (int32_t)i;
  else
    out->u8 = (uint8_t)i;
  return fit;
}

int tm__array_put(const tm__array *a, uint64_t i, const tm__element *x) {
  cell c;
  int fit = encode(a->dtype, x, &c);
  size_t size = types[a->dtype].size;
  if (fit == TM__FITS) memcpy(a->data + i * size, &c, size);
  return fit;
}

static void show(const tm__element *x, char *out, size_t size) {
  if (x->integer)
    snprintf(out, size, "%lld", (long long)x->i);
  else if (isnan(x->re))
    snprintf(out, size, "nan"); /* whatever its sign */
  else if (x->im != 0)
    snprintf(out, size, "%.14g%+.14gi", x->re, x->im);
  else
    snprintf(out, size, "%.14g", x->re);
}

int tm__element_fault(tm_error *e, int dtype, const tm__element *x, int fit) {
  char text[80];
  const type *t = &types[dtype];
  show(x, text, sizeof text);
  switch (fit) {
  case TM__FRACTION:
    return tm__fail(e, TM_EINVAL, "%s is not a whole number, as %s takes", text,
                    t->name);
  case TM__INEXACT:
    return tm__fail(e, TM_EINVAL, "the integer %s would be rounded in %s", text,
                    t->name);
  case TM__IMAGINARY:
    return tm__fail(e, TM_EINVAL,
                    "%s has an imaginary part, which %s does not hold", text,
                    t->name);
  default:
    return tm__fail(e, TM_EINVAL, "%s does not fit into %s (%lld to %lld)",
                    text, t->name, (long long)t->least, (long long)t->most);
  }
}

/* ---- whole arrays ---- */

/* One element, then what is filled already, doubled. */
int tm__array_fill(const tm__array *a, const tm__element *x, tm_error *e) {
  cell c;
  int fit = encode(a->dtype, x, &c);
  if (fit != TM__FITS) return tm__element_fault(e, a->dtype, x, fit);
  size_t done = types[a->dtype].size, all = tm__array_bytes(a);
  /* A copy from near by stays in the cache. */
  enum { NEAR = 16384 };
  if (all == 0) return TM_OK;
  memcpy(a->data, &c, done);
  while (done < all) {
    size_t more = done < NEAR ? done : NEAR;
    if (more > all - done) more = all - done;
    memcpy(a->data + done, a->data, more);
    done += more;
  }
  return TM_OK;
}

int tm__array_copy(const tm__array *to, const tm__array *from, tm_error *e) {
  tm__element x;
  if (to->dtype == from->dtype) {
    if (to->n) memmove(to->data, from->data, tm__array_bytes(to));
    return TM_OK;
  }
  for (uint64_t i = 0; i < to->n; i++) {
    tm__array_get(from, i, &x);
    int fit = tm__array_put(to, i, &x);
    if (fit != TM__FITS) return tm__element_fault(e, to->dtype, &x, fit);
  }
  return TM_OK;
}

void tm__array_transpose(const tm__array *a, const unsigned char *from) {
  uint64_t index[TM__RANK_MAX] = {0}, stride[TM__RANK_MAX], at = 0;
  size_t size = types[a->dtype].size;
  stride[0] = 1;
  for (int k = 1; k < a->rank; k++) stride[k] = stride[k - 1] * a->shape[k - 1];
  for (uint64_t i = 0; i < a->n; i++) {
    memcpy(a->data + i * size, from + at * size, size);
    for (int k = a->rank - 1; k >= 0; k--) {
      at += stride[k];
      if (++index[k] < a->shape[k]) break;
      at -= stride[k] * a->shape[k];
      index[k] = 0;
    }
  }
}
