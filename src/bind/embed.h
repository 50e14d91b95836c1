/*
 * embed.h: the Lua half of the library, inside the C one
 *
 * The build turns the files of lua/tidemill into arrays of C
 * (tools/embed.lua), so that the library is one file and a worker state
 * reads none.
 */
#ifndef TM_BIND_EMBED_H
#define TM_BIND_EMBED_H

#include <stddef.h>

/*
 * One Lua module. name is what `require` takes ("tidemill" for init.lua,
 * "tidemill.config" for config.lua); source is its text, length bytes and
 * a '\0' that length does not count.
 */
struct tm__embedded {
  const char *name;
  const char *source;
  size_t length;
};

/* Sorted by name; the last one's name is NULL. */
extern const struct tm__embedded tm__embedded[];

/* The text of tidemill_kernel.h, for kernels that scripts compile. */
extern const char *const tm__embedded_header;

#endif
