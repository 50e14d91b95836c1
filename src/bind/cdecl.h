/*
 * cdecl.h: declarations of C functions, as scripts write them
 *
 *     double cos(double)
 *     int    dscale(const double *x, int64_t n, double s)
 *     const char *zlibVersion(void)
 *
 * Types are the arithmetic ones, their pointers, and const char * for
 * strings. Names of parameters are allowed and ignored.
 */
#ifndef TM_BIND_CDECL_H
#define TM_BIND_CDECL_H

#include <stdbool.h>

#include "base/error.h"

enum { TM__CDECL_PARAMS = 16 };

enum tm__ctype_kind {
  TM__C_VOID,
  TM__C_FLOAT,  /* of size 4 or 8 */
  TM__C_INT,    /* of size 1 to 8, signed or not */
  TM__C_STRING, /* const char * */
  TM__C_POINTER /* to elements of `dtype`, or to anything (-1) */
};

typedef struct tm__ctype {
  int kind, size;
  bool is_signed;
  bool is_const; /* what a pointer points to */
  int dtype;     /* the array element of the same layout, or -1 */
} tm__ctype;

typedef struct tm__cdecl {
  char name[64];
  tm__ctype result, params[TM__CDECL_PARAMS];
  int count;
} tm__cdecl;

/* TM_EINVAL: the error says what was expected, and where. */
int tm__cdecl_parse(tm__cdecl *out, const char *text, tm_error *e);

#endif
