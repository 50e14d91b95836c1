#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int tm__fail(tm_error *e, int code, const char *format, ...) {
  if (e) {
    va_list ap;
    va_start(ap, format);
    e->code = code;
    vsnprintf(e->text, sizeof e->text, format, ap);
    va_end(ap);
  }
  return code;
}

int tm_error_set(tm_error *e, int code, const char *format, ...) {
  if (!e) return code;
  va_list ap;
  va_start(ap, format);
  e->code = code;
  vsnprintf(e->text, sizeof e->text, format, ap);
  va_end(ap);
  return code;
}

int tm__fail_errno(tm_error *e, const char *format, ...) {
  int error = errno;
  int code = error == ENOMEM ? TM_ENOMEM : TM_ESYS;
  if (e) {
    va_list ap;
    va_start(ap, format);
    e->code = code;
    vsnprintf(e->text, sizeof e->text, format, ap);
    va_end(ap);
    size_t n = strlen(e->text);
    char why[128];
    snprintf(e->text + n, sizeof e->text - n, ": %s",
             strerror_r(error, why, sizeof why));
  }
  return code;
}
