/*
 * tidemill_kernel.h: what a kernel is compiled against
 *
 * A kernel is a C function that does some items of a job. The script says
 * how many items there are and what the arguments are; the runtime checks
 * the arguments once, cuts the items into chunks, and calls the kernel for
 * each chunk, on every core, with no Lua in between.
 *
 *     #include "tidemill_kernel.h"
 *
 *     static int axpy(const tm_call *c, const tm_arg *a) {
 *       double *y = a[0].f64;
 *       const double *x = a[1].f64, s = a[2].f;
 *       for (int64_t i = c->first; i < c->last; i++) y[i] += s * x[i];
 *       return 0;
 *     }
 *
 *     TM_KERNELS(
 *       TM_RANGE(axpy, "f64[#] y, const f64[#] x, f64 s")
 *     );
 *
 * Compiled into a shared library (cc -O2 -fPIC -shared), it is
 *
 *     local axpy = tm.load_kernels("libaxpy.so").axpy
 *     pool:run(axpy, #y, y, x, 0.5)
 *
 * A script may hold the C text itself: tm.compile. A host program registers
 * its own with tm_kernel_register (tidemill.h). This header needs no library
 * and no other header of ours; it is C99 and C++11.
 *
 * Rules for kernels
 *   - Chunks run at the same time on several threads, in any order and of any
 *     size: what a kernel writes must be its own items' (or its accumulator
 *     or scratch).
 *   - A kernel calls no Lua, does not wait for other chunks, and does not
 *     throw or jump out.
 *   - The arrays stay where they are until the job is over.
 *   - In worker processes items are done at least once: with `retries` those
 *     of a process that died are done again, and find what it wrote. Static
 *     variables are each process's own.
 */
#ifndef TIDEMILL_KERNEL_H
#define TIDEMILL_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when what is below changes in a way that compiled kernels notice.
   The runtime refuses libraries of another number. */
#define TM_KERNEL_ABI 1

/* Says to a compiler of C99 that unions without a name are meant. */
#if defined(__GNUC__)
#define TM_UNNAMED __extension__
#else
#define TM_UNNAMED
#endif

/* The element types of arrays. */
enum tm_dtype {
  TM_F64, /* double */
  TM_F32, /* float */
  TM_I64, /* int64_t */
  TM_I32, /* int32_t */
  TM_U8,  /* uint8_t */
  TM_C128 /* tm_c128, which is laid out as C's double complex is */
};

typedef struct tm_c128 {
  double re, im;
} tm_c128;

/*
 * An argument, as the signature has it.
 *   - an array: the pointer to its first element (all elements in C order,
 *     the last index fastest), n of them, with its rank and extents;
 *   - a scalar: rank 0 and n 0; f when it is f64 or f32, i when it is i64,
 *     i32 or u8.
 */
typedef struct tm_arg {
  TM_UNNAMED union {
    void *p;
    double *f64;
    float *f32;
    int64_t *i64;
    int32_t *i32;
    uint8_t *u8;
    tm_c128 *c128;
    double f;
    int64_t i;
  };
  int64_t n;
  const int64_t *shape; /* rank extents */
  int32_t rank;
  int32_t dtype; /* enum tm_dtype */
} tm_arg;

/*
 * One call of a kernel: which items, and what the runtime lends it. Valid
 * until the kernel returns.
 */
typedef struct tm_call tm_call;
struct tm_call {
  uint32_t abi;    /* TM_KERNEL_ABI of the runtime */
  int32_t worker;  /* who runs this: 0 .. workers - 1; no two at once have
                      the same number in a job */
  int32_t workers; /* how many may take part */
  int32_t reserved;

  /* The items to do: first, first + 1 ... last - 1, counted from 0. An item
     kernel gets one: first. */
  int64_t first, last;

  /* Where a reduction adds up (see TM_RANGE below); else NULL. It holds what
     earlier items of the same block left there: add to it, do not set it. */
  TM_UNNAMED union {
    void *p;
    double *f64;
    int64_t *i64;
  } acc;

  /* Memory of this worker alone, of the size that the kernel declared, on a
     64-byte boundary. It keeps its content from call to call within a job,
     and begins with no particular content. */
  void *scratch;
  size_t scratch_size;

  /*
   * Fails the job. `item` is the item that could not be done, of those of this
   * call (another is taken for the nearest of them); the message is
   * as printf makes it, and ends up in the script's error. Answers non-zero,
   * so that a kernel says
   *     return c->fail(c, i, "pivot %g is too small", pivot);
   * Items below the lowest that failed are all done; items above it that
   * nobody has begun are skipped. So, when items are done in order, the same
   * item is named whatever the number of workers.
   *
   * A kernel that returns non-zero without having called fail fails its
   * first item, with a message that gives the number.
   */
  int (*fail)(const tm_call *c, int64_t item, const char *format, ...)
#if defined(__GNUC__)
      __attribute__((format(printf, 3, 4)))
#endif
      ;

  /* Whether the work of this call is not wanted any more (the user has
     interrupted, the job was cancelled or ran out of time, an item below
     failed). For kernels whose calls take long: ask now and then, about
     every 10 ms, and return 0 at once when it says so. Cheap. */
  int (*cancelled)(const tm_call *c);

  void *runtime; /* the runtime's own */
};

/* Does the items that c names. Answers 0, or non-zero when one failed. */
typedef int (*tm_kernel_fn)(const tm_call *c, const tm_arg *args);

/* How a kernel is called. */
enum tm_kernel_kind {
  TM_KIND_RANGE = 1, /* called with runs of items */
  TM_KIND_ITEM       /* called once for each item */
};

/*
 * A kernel, as a library lists it.
 *
 * signature: the arguments, separated by commas; each is
 *
 *     [const] type[dims] name        an array
 *     type name                      a number
 *
 * with type one of f64 f32 i64 i32 u8 c128 (c128 only for arrays). An array
 * without const is one that the kernel writes: a read-only array is refused.
 * dims is one of
 *     f64[]            any rank and any number of elements
 *     f64[nx]          rank 1
 *     f64[ny, nx]      rank 2, and so on up to 8
 * where an extent is
 *     a number         exactly so many
 *     a name           the same in every place where the name is used, and
 *                      equal to the i64 argument of that name if there is one
 *     name+1, name-2   so many more or less
 *     #                at least as many as the job's items reach: `last` of
 *                      the whole job
 *     *                any
 * For example "f64[ny,nx] out, const f64[ny,nx] in, i64 nx, i64 ny, f64 dt".
 * All of it is checked before anything runs; a kernel need not check.
 *
 * reduce: NULL, or what comes out of the job: "sum f64", "min f64",
 * "max i64", and with several elements "sum f64[256]". The kernel then finds
 * an accumulator in c->acc, which begins as 0, as the largest or as the
 * smallest value of the type (of f64 these are +inf and -inf, which is also
 * what no items give), and adds its items up in it:
 *
 *     static int norm(const tm_call *c, const tm_arg *a) {
 *       double s = 0;
 *       for (int64_t i = c->first; i < c->last; i++)
 *         s += a[0].f64[i] * a[0].f64[i];
 *       *c->acc.f64 += s;
 *       return 0;
 *     }
 *     TM_RANGE(norm, "const f64[#] x", .reduce = "sum f64")
 *
 * "f64[3]" without a word is an accumulator that the kernel's own functions
 * begin and combine: init sets one to what "no items" is (NULL: zeros),
 * combine adds a later block's (`from`) to an earlier one's (`into`).
 *
 * The items are cut into at most 256 blocks by their number alone, a block is
 * done by one worker in order, and blocks are combined in order: the result
 * has the same bits whatever the number of workers.
 *
 * New fields may come at the end; zero is their default.
 */
typedef struct tm_kernel {
  const char *name; /* what the script finds it by */
  tm_kernel_fn run;
  int kind; /* enum tm_kernel_kind */
  const char *signature;
  const char *reduce;
  size_t scratch; /* bytes of c->scratch; without the memory nothing runs */
  void (*init)(void *acc, const tm_arg *args);
  void (*combine)(void *into, const void *from, const tm_arg *args);
} tm_kernel;

/* What a library exports, under the name tidemill_kernel_table. */
typedef struct tm_kernel_table {
  uint32_t abi;
  uint32_t count;
  size_t size; /* of one tm_kernel */
  const tm_kernel *kernels;
} tm_kernel_table;

#if defined(__GNUC__)
#define TM_KERNEL_EXPORT __attribute__((visibility("default")))
#else
#define TM_KERNEL_EXPORT
#endif

/*
 * A line of the table: the function, its signature, then what else there is
 * to say: .reduce = ..., .scratch = ..., .init = ..., .combine = ... In C++
 * these follow in this order without their names: TM_RANGE(norm,
 * "const f64[#] x", "sum f64").
 */
#ifdef __cplusplus
static inline tm_kernel
tm_kernel_line(const char *name, tm_kernel_fn run, int kind,
               const char *signature, const char *reduce = NULL,
               size_t scratch = 0, void (*init)(void *, const tm_arg *) = NULL,
               void (*combine)(void *, const void *, const tm_arg *) = NULL) {
  return tm_kernel{name, run, kind, signature, reduce, scratch, init, combine};
}
#define TM_LINE(function, kind, ...)                                           \
  tm_kernel_line(#function, function, kind, __VA_ARGS__)
#else
#define TM_LINE(function, of_kind, ...)                                        \
  { .name = #function, .run = function, .kind = of_kind, __VA_ARGS__ }
#endif
#define TM_RANGE(function, ...) TM_LINE(function, TM_KIND_RANGE, __VA_ARGS__)
#define TM_ITEM(function, ...) TM_LINE(function, TM_KIND_ITEM, __VA_ARGS__)

/* The table: once in a library, with a line for each kernel. */
#define TM_KERNELS(...)                                                        \
  static const tm_kernel tm_kernel_lines[] = {__VA_ARGS__};                    \
  extern TM_KERNEL_EXPORT const tm_kernel_table tidemill_kernel_table;         \
  const tm_kernel_table tidemill_kernel_table = {                              \
      TM_KERNEL_ABI,                                                           \
      (uint32_t)(sizeof tm_kernel_lines / sizeof tm_kernel_lines[0]),          \
      sizeof(tm_kernel), tm_kernel_lines}

#ifdef __cplusplus
}
#endif
#endif
