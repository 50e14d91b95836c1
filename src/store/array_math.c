/*
 * array_math.c: sums and products of whole arrays
 *
 * One short loop for each operation and type, made by macros from the same
 * text, so that compilers see plain C types.
 */
#include <math.h>

#include "base/error.h"
#include "store/array.h"

#define CAST(T, a) ((T *)(void *)(a)->data)

static int overflow(tm_error *e, const tm__array *a, const char *what) {
  return tm__fail(e, TM_EINVAL, "%s overflows %s", what,
                  tm__dtype_name(a->dtype));
}

/* ---- floats ---- */

#define FLOATS(T, name)                                                        \
  static void add_##name(T *a, uint64_t n, T x) {                              \
    for (uint64_t i = 0; i < n; i++) a[i] += x;                                \
  }                                                                            \
  static void scale_##name(T *a, uint64_t n, T x) {                            \
    for (uint64_t i = 0; i < n; i++) a[i] *= x;                                \
  }                                                                            \
  static void plus_##name(T *a, const T *b, uint64_t n) {                      \
    for (uint64_t i = 0; i < n; i++) a[i] += b[i];                             \
  }                                                                            \
  static double least_##name(const T *a, uint64_t n, double sign) {            \
    double least = sign * (double)a[0];                                        \
    for (uint64_t i = 0; i < n; i++) {                                         \
      double x = sign * (double)a[i];                                          \
      if (x < least || x != x) least = x;                                      \
      if (x != x) break;                                                       \
    }                                                                          \
    return sign * least;                                                       \
  }

FLOATS(double, f64)
FLOATS(float, f32)

static void add_c128(double *a, uint64_t n, const tm__element *x) {
  for (uint64_t i = 0; i < n; i++) {
    a[2 * i] += x->re;
    a[2 * i + 1] += x->im;
  }
}

static void scale_c128(double *a, uint64_t n, const tm__element *x) {
  for (uint64_t i = 0; i < n; i++) {
    double re = a[2 * i], im = a[2 * i + 1];
    a[2 * i] = re * x->re - im * x->im;
    a[2 * i + 1] = re * x->im + im * x->re;
  }
}

/*
 * Leaves of the pairwise sum: EXPR of n indices i, in eight sums, so that
 * they can be formed side by side. They have names, for registers: an array
 * that is summed into stays in memory, and sums wait for it.
 */
#define LEAF(name, T, EXPR)                                                    \
  static double name(const void *a_, const void *b_, uint64_t from,            \
                     uint64_t to) {                                            \
    const T *a = a_, *b = b_;                                                  \
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;     \
    uint64_t i = from;                                                         \
    (void)b;                                                                   \
    for (; i + 8 <= to; i += 8) {                                              \
      s0 += EXPR(i);                                                           \
      s1 += EXPR(i + 1);                                                       \
      s2 += EXPR(i + 2);                                                       \
      s3 += EXPR(i + 3);                                                       \
      s4 += EXPR(i + 4);                                                       \
      s5 += EXPR(i + 5);                                                       \
      s6 += EXPR(i + 6);                                                       \
      s7 += EXPR(i + 7);                                                       \
    }                                                                          \
    double s[8] = {s0, s1, s2, s3, s4, s5, s6, s7};                            \
    for (; i < to; i++) s[i % 8] += EXPR(i);                                   \
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));  \
  }

#define ONE(i) (double)a[i]
#define TWO(i) (double)a[i] * (double)b[i]
#define RE(i) a[2 * (i)]
#define IM(i) a[2 * (i) + 1]
#define DOT_RE(i) (a[2 * (i)] * b[2 * (i)] + a[2 * (i) + 1] * b[2 * (i) + 1])
#define DOT_IM(i) (a[2 * (i)] * b[2 * (i) + 1] - a[2 * (i) + 1] * b[2 * (i)])

LEAF(sum_f64, double, ONE)
LEAF(sum_f32, float, ONE)
LEAF(sum_re, double, RE)
LEAF(sum_im, double, IM)
LEAF(dot_f64, double, TWO)
LEAF(dot_f32, float, TWO)
LEAF(dot_re, double, DOT_RE)
LEAF(dot_im, double, DOT_IM)

typedef double (*leaf)(const void *a, const void *b, uint64_t from,
                       uint64_t to);

static double pairwise(leaf f, const void *a, const void *b, uint64_t from,
                       uint64_t to) {
  enum { LEAF_SIZE = 256 };
  if (to - from <= LEAF_SIZE) return f(a, b, from, to);
  uint64_t middle = from + (to - from) / 2 / LEAF_SIZE * LEAF_SIZE;
  if (middle == from) middle = from + LEAF_SIZE;
  return pairwise(f, a, b, from, middle) + pairwise(f, a, b, middle, to);
}

/* ---- integers ---- */

/* First whether all of it fits, then the work: an error changes nothing. */
#define INTEGERS(T, name)                                                      \
  static bool add_##name(T *a, uint64_t n, T x) {                              \
    T y;                                                                       \
    for (uint64_t i = 0; i < n; i++)                                           \
      if (__builtin_add_overflow(a[i], x, &y)) return false;                   \
    for (uint64_t i = 0; i < n; i++) a[i] = (T)(a[i] + x);                     \
    return true;                                                               \
  }                                                                            \
  static bool scale_##name(T *a, uint64_t n, int64_t x) {                      \
    T y;                                                                       \
    for (uint64_t i = 0; i < n; i++)                                           \
      if (__builtin_mul_overflow(a[i], x, &y)) return false;                   \
    for (uint64_t i = 0; i < n; i++) a[i] = (T)((int64_t)a[i] * x);            \
    return true;                                                               \
  }                                                                            \
  static bool plus_##name(T *a, const T *b, uint64_t n) {                      \
    T y;                                                                       \
    for (uint64_t i = 0; i < n; i++)                                           \
      if (__builtin_add_overflow(a[i], b[i], &y)) return false;                \
    for (uint64_t i = 0; i < n; i++) a[i] = (T)(a[i] + b[i]);                  \
    return true;                                                               \
  }                                                                            \
  static bool sum_##name(const T *a, uint64_t n, int64_t *out) {               \
    int64_t sum = 0;                                                           \
    for (uint64_t i = 0; i < n; i++)                                           \
      if (__builtin_add_overflow(sum, a[i], &sum)) return false;               \
    *out = sum;                                                                \
    return true;                                                               \
  }                                                                            \
  static bool dot_##name(const T *a, const T *b, uint64_t n, int64_t *out) {   \
    int64_t sum = 0, x;                                                        \
    for (uint64_t i = 0; i < n; i++)                                           \
      if (__builtin_mul_overflow(a[i], b[i], &x) ||                            \
          __builtin_add_overflow(sum, x, &sum))                                \
        return false;                                                          \
    *out = sum;                                                                \
    return true;                                                               \
  }                                                                            \
  static int64_t min_##name(const T *a, uint64_t n) {                          \
    T x = a[0];                                                                \
    for (uint64_t i = 0; i < n; i++) x = a[i] < x ? a[i] : x;                  \
    return x;                                                                  \
  }                                                                            \
  static int64_t max_##name(const T *a, uint64_t n) {                          \
    T x = a[0];                                                                \
    for (uint64_t i = 0; i < n; i++) x = a[i] > x ? a[i] : x;                  \
    return x;                                                                  \
  }

INTEGERS(int64_t, i64)
INTEGERS(int32_t, i32)
INTEGERS(uint8_t, u8)

/* ---- operations ---- */

/* x as a number of the array's own type: what put would write. */
static int convert(const tm__array *a, const tm__element *x, tm__element *out,
                   tm_error *e) {
  unsigned char room[16] __attribute__((aligned(16)));
  tm__array one = {.data = room, .n = 1, .rank = 1, .dtype = a->dtype};
  int fit = tm__array_put(&one, 0, x);
  if (fit != TM__FITS) return tm__element_fault(e, a->dtype, x, fit);
  tm__array_get(&one, 0, out);
  return TM_OK;
}

int tm__array_add(const tm__array *a, const tm__element *given, tm_error *e) {
  tm__element x;
  bool fits = true;
  int status = convert(a, given, &x, e);
  if (status) return status;
  switch (a->dtype) {
  case TM__F64: add_f64(CAST(double, a), a->n, x.re); break;
  case TM__F32: add_f32(CAST(float, a), a->n, (float)x.re); break;
  case TM__C128: add_c128(CAST(double, a), a->n, &x); break;
  case TM__I64: fits = add_i64(CAST(int64_t, a), a->n, x.i); break;
  case TM__I32: fits = add_i32(CAST(int32_t, a), a->n, (int32_t)x.i); break;
  default: fits = add_u8(CAST(uint8_t, a), a->n, (uint8_t)x.i);
  }
  return fits ? TM_OK : overflow(e, a, "a sum");
}

/* Integer types take any whole factor: 3 * 80 fits u8 as well as -1 * 0. */
static int factor(const tm__array *a, const tm__element *given,
                  tm__element *out, tm_error *e) {
  tm__array wide = *a;
  bool narrow = a->dtype == TM__I32 || a->dtype == TM__U8;
  if (narrow) wide.dtype = TM__I64;
  int status = convert(&wide, given, out, e);
  if (!status || !narrow) return status;
  return tm__fail(e, TM_EINVAL, "scale: %s takes a whole factor",
                  tm__dtype_name(a->dtype));
}

int tm__array_scale(const tm__array *a, const tm__element *given, tm_error *e) {
  tm__element x;
  bool fits = true;
  int status = factor(a, given, &x, e);
  if (status) return status;
  switch (a->dtype) {
  case TM__F64: scale_f64(CAST(double, a), a->n, x.re); break;
  case TM__F32: scale_f32(CAST(float, a), a->n, (float)x.re); break;
  case TM__C128: scale_c128(CAST(double, a), a->n, &x); break;
  case TM__I64: fits = scale_i64(CAST(int64_t, a), a->n, x.i); break;
  case TM__I32: fits = scale_i32(CAST(int32_t, a), a->n, x.i); break;
  default: fits = scale_u8(CAST(uint8_t, a), a->n, x.i);
  }
  return fits ? TM_OK : overflow(e, a, "a product");
}

int tm__array_plus(const tm__array *a, const tm__array *b, tm_error *e) {
  bool fits = true;
  uint64_t n = a->n;
  switch (a->dtype) {
  case TM__F64: plus_f64(CAST(double, a), CAST(double, b), n); break;
  case TM__F32: plus_f32(CAST(float, a), CAST(float, b), n); break;
  case TM__C128: plus_f64(CAST(double, a), CAST(double, b), 2 * n); break;
  case TM__I64: fits = plus_i64(CAST(int64_t, a), CAST(int64_t, b), n); break;
  case TM__I32: fits = plus_i32(CAST(int32_t, a), CAST(int32_t, b), n); break;
  default: fits = plus_u8(CAST(uint8_t, a), CAST(uint8_t, b), n);
  }
  return fits ? TM_OK : overflow(e, a, "a sum");
}

int tm__array_sum(const tm__array *a, tm__element *out, tm_error *e) {
  const void *d = a->data;
  uint64_t n = a->n;
  bool fits = true;
  *out = (tm__element){.integer = false};
  switch (a->dtype) {
  case TM__F64: out->re = pairwise(sum_f64, d, d, 0, n); return TM_OK;
  case TM__F32: out->re = pairwise(sum_f32, d, d, 0, n); return TM_OK;
  case TM__C128:
    out->re = pairwise(sum_re, d, d, 0, n);
    out->im = pairwise(sum_im, d, d, 0, n);
    return TM_OK;
  case TM__I64: fits = sum_i64(d, n, &out->i); break;
  case TM__I32: fits = sum_i32(d, n, &out->i); break;
  default: fits = sum_u8(d, n, &out->i);
  }
  out->integer = true;
  return fits ? TM_OK : tm__fail(e, TM_EINVAL, "the sum overflows i64");
}

int tm__array_dot(const tm__array *a, const tm__array *b, tm__element *out,
                  tm_error *e) {
  const void *d = a->data, *f = b->data;
  uint64_t n = a->n;
  bool fits = true;
  *out = (tm__element){.integer = false};
  switch (a->dtype) {
  case TM__F64: out->re = pairwise(dot_f64, d, f, 0, n); return TM_OK;
  case TM__F32: out->re = pairwise(dot_f32, d, f, 0, n); return TM_OK;
  case TM__C128:
    out->re = pairwise(dot_re, d, f, 0, n);
    out->im = pairwise(dot_im, d, f, 0, n);
    return TM_OK;
  case TM__I64: fits = dot_i64(d, f, n, &out->i); break;
  case TM__I32: fits = dot_i32(d, f, n, &out->i); break;
  default: fits = dot_u8(d, f, n, &out->i);
  }
  out->integer = true;
  return fits ? TM_OK : tm__fail(e, TM_EINVAL, "the dot product overflows i64");
}

static int check_order(const tm__array *a, const char *what, tm_error *e) {
  if (a->dtype == TM__C128)
    return tm__fail(e, TM_EINVAL, "%s: complex numbers have no order", what);
  if (a->n == 0)
    return tm__fail(e, TM_EINVAL, "%s: the array has no elements", what);
  return TM_OK;
}

int tm__array_min(const tm__array *a, tm__element *out, tm_error *e) {
  const void *d = a->data;
  int status = check_order(a, "min", e);
  if (status) return status;
  *out = (tm__element){.integer = a->dtype != TM__F64 && a->dtype != TM__F32};
  switch (a->dtype) {
  case TM__F64: out->re = least_f64(d, a->n, 1); break;
  case TM__F32: out->re = least_f32(d, a->n, 1); break;
  case TM__I64: out->i = min_i64(d, a->n); break;
  case TM__I32: out->i = min_i32(d, a->n); break;
  default: out->i = min_u8(d, a->n);
  }
  return TM_OK;
}

int tm__array_max(const tm__array *a, tm__element *out, tm_error *e) {
  const void *d = a->data;
  int status = check_order(a, "max", e);
  if (status) return status;
  *out = (tm__element){.integer = a->dtype != TM__F64 && a->dtype != TM__F32};
  switch (a->dtype) {
  case TM__F64: out->re = least_f64(d, a->n, -1); break;
  case TM__F32: out->re = least_f32(d, a->n, -1); break;
  case TM__I64: out->i = max_i64(d, a->n); break;
  case TM__I32: out->i = max_i32(d, a->n); break;
  default: out->i = max_u8(d, a->n);
  }
  return TM_OK;
}
