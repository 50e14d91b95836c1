/*
 * array.h: typed blocks of numbers in memory that workers share
 *
 * An array is a description (element type, shape, where the first element
 * is) of memory that it does not own: the value of a store entry of kind
 * TM__BUFFER, a mapped file (maps.h), or the host's (wrap.h). Whoever keeps an
 * array holds a count on the entry `key`; entries of that kind are never
 * updated, so that `data` stays where it is for as long as the count is held.
 *
 * The elements are contiguous, the last index fastest (C order). Indices
 * here are from 0. Several threads may read and write the elements at once,
 * as C threads do: what they write to one element is theirs to order.
 */
#ifndef TM_STORE_ARRAY_H
#define TM_STORE_ARRAY_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

enum tm__dtype {
  TM__F64,
  TM__F32,
  TM__I64,
  TM__I32,
  TM__U8,
  TM__C128, /* two doubles, real and imaginary part */
  TM__DTYPES
};

enum { TM__RANK_MAX = 8 };

/*
 * Invariants: 1 <= rank <= TM__RANK_MAX; n is the product of the extents;
 * n elements lie at data, which is aligned to the element. A view of an
 * array has its key, and an offset of its own.
 */
typedef struct tm__array {
  unsigned char *data;
  uint64_t n;
  tm__key key;
  uint64_t offset; /* of data, in bytes from the start of the memory */
  uint64_t shape[TM__RANK_MAX];
  uint8_t dtype, rank;
  bool readonly;
  bool mapped;  /* the entry's value is a tm__mapped (maps.h) */
  bool wrapped; /* the entry's value is a tm__wrapped (wrap.h) */
} tm__array;

/* "f64" ..., and back; -1 when there is no such type. */
const char *tm__dtype_name(int dtype);
int tm__dtype_of(const char *name);

/* Bytes of an element. */
size_t tm__dtype_size(int dtype);

/* Sets dtype, rank, shape and n; false when the size in bytes is more than
   an address space has. */
bool tm__array_shape(tm__array *a, int dtype, int rank, const uint64_t *shape);

size_t tm__array_bytes(const tm__array *a);

/* Sub-arrays: row i of an array of rank 2 or more, and `count` rows (or
   elements) from `first` on. The indices are in range. */
void tm__array_row(const tm__array *a, uint64_t i, tm__array *out);
void tm__array_slice(const tm__array *a, uint64_t first, uint64_t count,
                     tm__array *out);

/* Whether both are the same elements in the same shape; whether they have
   the same shape. */
bool tm__array_same(const tm__array *a, const tm__array *b);
bool tm__array_alike(const tm__array *a, const tm__array *b);

/* ---- elements ---- */

/* A number on its way in or out of an array of any type. */
typedef struct tm__element {
  bool integer; /* i counts, else re and im */
  int64_t i;
  double re, im;
} tm__element;

/* How a number fits a type. */
enum tm__fit {
  TM__FITS,
  TM__FRACTION, /* 1.5 into an integer type */
  TM__RANGE,    /* 300 into u8, or nan into an integer type */
  TM__INEXACT,  /* an integer that a float type would round */
  TM__IMAGINARY /* an imaginary part into a real type */
};

/* The element at i, counted over the whole array, of which i < n. */
void tm__array_get(const tm__array *a, uint64_t i, tm__element *out);

/*
 * Writes it; answers enum tm__fit, and leaves the element as it was unless
 * that is TM__FITS. An integer is never changed on the way: it fits, or it
 * does not. A float that goes into f32 is rounded as C does.
 */
int tm__array_put(const tm__array *a, uint64_t i, const tm__element *x);

/* "300 does not fit into u8 (0 to 255)": TM_EINVAL. */
int tm__element_fault(tm_error *e, int dtype, const tm__element *x, int fit);

/* ---- whole arrays ----
 *
 * All answer TM_OK, or TM_EINVAL with a text, and then have changed nothing
 * (copy: nothing behind the element that did not fit). Readonly is the
 * caller's to look at. Additions and products of integers that overflow are
 * errors.
 */

int tm__array_fill(const tm__array *a, const tm__element *x, tm_error *e);

/* Both have the same shape; any two types. */
int tm__array_copy(const tm__array *to, const tm__array *from, tm_error *e);

/* a += x, a *= x. */
int tm__array_add(const tm__array *a, const tm__element *x, tm_error *e);
int tm__array_scale(const tm__array *a, const tm__element *x, tm_error *e);

/* a += b, of the same type and shape. */
int tm__array_plus(const tm__array *a, const tm__array *b, tm_error *e);

/*
 * The sum of all elements, and of a[i] * b[i] (for c128 of the conjugate of
 * a[i] times b[i]); b has a's type and shape. Floats are added pairwise, in
 * double precision, in an order that depends on n alone: the error grows with
 * log n, and the same elements give the same bits (N. J. Higham, "The
 * accuracy of floating point summation", SIAM J. Sci. Comput. 14, 1993).
 */
int tm__array_sum(const tm__array *a, tm__element *out, tm_error *e);
int tm__array_dot(const tm__array *a, const tm__array *b, tm__element *out,
                  tm_error *e);

/* The least and the greatest element; nan when one is. Not of c128, nor of
   no elements. */
int tm__array_min(const tm__array *a, tm__element *out, tm_error *e);
int tm__array_max(const tm__array *a, tm__element *out, tm_error *e);

/* Puts the elements of `from`, which lie first index fastest (Fortran order)
   in a's shape, into a. from has a's bytes and is not a's memory. */
void tm__array_transpose(const tm__array *a, const unsigned char *from);

#endif
