/*
 * error.h: how functions of the core report failure
 *
 * A function that can fail returns a status (enum tm_status) and fills a
 * tm_error that its caller owns. Nothing is allocated.
 */
#ifndef TM_BASE_ERROR_H
#define TM_BASE_ERROR_H

#include "tidemill.h"

/* Fills *e (when not NULL) as printf would, cutting what is too long, and
   returns code, so that `return tm__fail(e, TM_EINVAL, "...")` works. */
int tm__fail(tm_error *e, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with ": strerror(errno)" at its end; the code is TM_ENOMEM for
   ENOMEM, else TM_ESYS. */
int tm__fail_errno(tm_error *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
