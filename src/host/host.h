/*
 * host.h: what the files of the C API share
 *
 * src/host is the half of tidemill.h that needs no Lua: thin objects over the
 * core, which check what a caller may get wrong and answer codes. It depends
 * on run and below; the binding, which runs scripts, depends on it.
 */
#ifndef TM_HOST_HOST_H
#define TM_HOST_HOST_H

#include "run/runtime.h"

/* "tm_x: a null argument": TM_EINVAL. */
int tm__host_null(tm_error *e, const char *function);

/* TM_OK when rt is open; TM_EINVAL for NULL, TM_ECLOSED. */
int tm__host_open(tm_runtime *rt, const char *function, tm_error *e);

/* Seconds as nanoseconds from now on; TM__FOREVER for none. */
uint64_t tm__host_timeout(double seconds);

#endif
