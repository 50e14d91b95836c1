/*
 * signature.h: what a kernel's arguments must be, and whether they are
 *
 * A signature is parsed once, when its kernel is registered; the language is
 * described at tm_kernel in tidemill_kernel.h. A job's arguments are checked
 * against it once, before anything runs.
 *
 * Names of extents are numbered: names[d.name] is the text of one, and an
 * i64 parameter of that name gives its value. Where there is none, the first
 * array that uses a name does.
 */
#ifndef TM_RUN_SIGNATURE_H
#define TM_RUN_SIGNATURE_H

#include <stdbool.h>

#include "store/array.h"
#include "tidemill_kernel.h"

enum { TM__PARAM_LIMIT = 64, TM__NAME_SIZE = 32 };

enum tm__dim_kind {
  TM__DIM_ANY,    /* * */
  TM__DIM_NUMBER, /* offset */
  TM__DIM_NAME,   /* names[name] + offset */
  TM__DIM_ITEMS   /* at least what the job's items reach */
};

typedef struct tm__dim {
  int kind, name;
  int64_t offset;
} tm__dim;

typedef struct tm__param {
  int dtype;
  bool array, is_const;
  int rank; /* of an array; 0: any shape */
  tm__dim dims[TM__RANK_MAX];
  int extent; /* of a scalar: the extent that it is, or -1 */
  char name[TM__NAME_SIZE];
} tm__param;

typedef struct tm__signature {
  const tm__mem *mem;
  char *text;
  int count, nnames;
  tm__param *params;
  char (*names)[TM__NAME_SIZE];
} tm__signature;

enum tm__value_kind {
  TM__VALUE_OTHER, /* what no kernel takes; `what` says what it is */
  TM__VALUE_INT,   /* arg.i */
  TM__VALUE_FLOAT, /* arg.f */
  TM__VALUE_ARRAY  /* arg */
};

/* An argument as the caller has it. Checking turns arg into what the kernel
   is given. */
typedef struct tm__value {
  int kind;
  bool readonly;
  const char *what;
  tm_arg arg;
} tm__value;

/* Parses text, copying what it needs. TM_EINVAL: the error says where. */
int tm__signature_init(tm__signature *s, const tm__mem *mem, const char *text,
                       tm_error *e);
void tm__signature_term(tm__signature *s);

/*
 * Checks n values as the arguments of a job whose items end at `last`, and
 * writes them to args (count of them). TM_EINVAL: the error names the kernel,
 * the argument, and what was expected and got.
 */
int tm__signature_check(const tm__signature *s, const char *kernel,
                        tm__value *values, int n, int64_t last, tm_arg *args,
                        tm_error *e);

/* "kernel 'k': argument 2 'u'", the beginning of messages; without the name
   where the signature has none or no such argument. i counts from 0. */
enum { TM__WHO = 160 };
const char *tm__signature_who(const tm__signature *s, const char *kernel, int i,
                              char out[TM__WHO]);

/* The type whose name begins the text, and how long that is; -1: none. */
int tm__dtype_read(const char *text, size_t *len);

#endif
