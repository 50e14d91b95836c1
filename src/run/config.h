/*
 * config.h: what a host may set, read whatever the size that it knows of
 *
 * A struct that a program fills begins with the size that it was compiled
 * with. What it does not know of has its default; what it knows and we do
 * not must be zero.
 */
#ifndef TM_RUN_CONFIG_H
#define TM_RUN_CONFIG_H

#include "base/error.h"

/* Copies a caller's struct over `to`, which has its defaults and is `size`
   bytes. `init` is the function that the caller should have called. NULL
   leaves the defaults. TM_EINVAL. */
int tm__options_read(void *to, size_t size, const void *from, const char *init,
                     tm_error *e);

/* Sets the first `given` bytes of a caller's struct to those of `defaults`,
   which is `size` bytes, and its size. */
void tm__options_init(void *to, size_t given, const void *defaults,
                      size_t size);

/* The config in force: *out is checked and complete. TM_EINVAL. */
int tm__config_read(tm_config *out, const tm_config *given, tm_error *e);

#endif
