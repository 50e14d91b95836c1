/*
 * kernel.h: kernels that are known, and the libraries they come from
 *
 * A runtime has a list of kernels: those that the host registered (library
 * "") and those of the libraries that were opened. The host's are found by
 * their names alone, and so are those of a library that was published. A kernel
 * stays until the runtime goes, and a library is never unloaded: its code may
 * be on some thread's stack. So a tm__kernel may be kept without being counted,
 * and travels as the path of its library and its name; a worker process that
 * was there before it loads it then.
 *
 * Threads: any thread may open libraries and look kernels up.
 */
#ifndef TM_RUN_KERNEL_H
#define TM_RUN_KERNEL_H

#include <pthread.h>
#include <stdatomic.h>

#include "run/signature.h"

enum tm__reduce_op {
  TM__REDUCE_NONE,
  TM__REDUCE_SUM,
  TM__REDUCE_MIN,
  TM__REDUCE_MAX,
  TM__REDUCE_OWN /* by init and combine */
};

/* What comes out of a job: count elements. Accumulators lie `stride` bytes
   apart, so that two workers never write to one cache line. */
typedef struct tm__reduce {
  int op, dtype; /* TM_F64 or TM_I64 */
  int64_t count;
  size_t stride;
} tm__reduce;

enum { TM__PRIORS = 4 };

typedef struct tm__kernel {
  struct tm__kernel *next;
  const struct tm__library *library; /* NULL: the host's */
  char *name;
  tm_kernel entry; /* its texts are not to be used: the library's */
  tm__signature signature;
  tm__reduce reduce;
  void *user;     /* of whoever defined it; freed with it */
  bool published; /* found by its name alone; the list's lock */

  /* What items cost in earlier runs: a fingerprint of the arguments' sizes
     above, nanoseconds an item as the bits of a float below; 0: not known.
     Hints, written by whoever ran last. */
  _Atomic uint64_t priors[TM__PRIORS];
} tm__kernel;

typedef struct tm__library {
  struct tm__library *next;
  char *path;
  bool defined; /* no library to load: by tm__kernels_define */
} tm__library;

typedef struct tm__kernels tm__kernels;

/* Defines the kernel of a path and a name where it is not known yet. */
typedef int (*tm__define_fn)(tm__kernels *ks, const char *path,
                             const char *name, tm__kernel **out, tm_error *e);

struct tm__kernels {
  const tm__mem *mem;
  pthread_mutex_t lock; /* guards what follows; what is in the lists stays */
  tm__kernel *first;
  tm__library *libraries;
  tm__define_fn define; /* of whoever defines kernels; NULL: nobody */
};

/* What a kernel is known by in other processes of the runtime. */
typedef struct tm__kernel_name {
  const char *path; /* of its library; "": the host's */
  const char *name;
  const char *signature; /* which it must have; NULL: any */
  bool defined;
} tm__kernel_name;

void tm__kernels_init(tm__kernels *ks, const tm__mem *mem);
/* Around a fork, so that no other thread is at work on the list; the second
   one in both processes. */
void tm__kernels_before_fork(tm__kernels *ks);
void tm__kernels_after_fork(tm__kernels *ks);
void tm__kernels_term(tm__kernels *ks);

/* Adds a kernel of the host's. TM_EINVAL: the name is taken, or the entry
   makes no sense (the error says why). */
int tm__kernels_add(tm__kernels *ks, const tm_kernel *entry, tm_error *e);

/* What a struct of `size` bytes, perhaps of another version of the header,
   says: fields that it does not have are 0, those that we do not know are
   not looked at. False when it is smaller than any ever was. */
bool tm__kernel_entry(tm_kernel *out, const void *from, size_t size);

/* Adds a kernel that the library itself makes, under a path of its own; one
   that is there already is answered in its place. user is taken over. */
int tm__kernels_define(tm__kernels *ks, const char *path,
                       const tm_kernel *entry, void *user, tm__kernel **out,
                       tm_error *e);

/* Says how kernels are defined that come from another process. */
void tm__kernels_set_define(tm__kernels *ks, tm__define_fn define);

/* Loads a library, once. path is given to dlopen as it is. TM_ESYS when it
   does not load, TM_EINVAL when it is not one of kernels. */
int tm__kernels_open(tm__kernels *ks, const char *path, const tm__library **out,
                     tm_error *e);

/* From now on the kernels of a library are found as the host's are; they keep
   their path, by which other processes find them. TM_EINVAL, and none of them
   is, when a name is taken. */
int tm__kernels_publish(tm__kernels *ks, const tm__library *library,
                        tm_error *e);

/* A kernel by its library's path ("" or NULL: the host's, or published) and
   name; NULL when there is none. Does not load anything. */
tm__kernel *tm__kernels_find(tm__kernels *ks, const char *path,
                             const char *name);

tm__kernel_name tm__kernel_name_of(const tm__kernel *k);

/* The same by what another process knows it by: loads its library, or defines
   it, when it is not there yet. The error names the kernel. */
int tm__kernels_resolve(tm__kernels *ks, const tm__kernel_name *name,
                        tm__kernel **out, tm_error *e);

/* The kernel of a library after k, first when k is NULL; in no order. */
tm__kernel *tm__kernels_next(tm__kernels *ks, const tm__library *library,
                             tm__kernel *k);

static inline const char *tm__kernel_path(const tm__kernel *k) {
  return k->library ? k->library->path : "";
}

#endif
