/*
 * scan.h: the globals that a function names
 *
 * Reads the code of a function as string.dump gives it (Lua 5.4's format,
 * ldump.c) and collects the names that it, and the functions inside it, read
 * through an upvalue that is the table of globals.
 */
#ifndef TM_BIND_SCAN_H
#define TM_BIND_SCAN_H

#include <stdbool.h>
#include <stddef.h>

typedef void (*tm__scan_fn)(void *user, const char *name, size_t len);

/*
 * Calls found(user, name, len) for each read of a global; a name may come
 * more than once. is_env[i] says whether upvalue i of the function is the
 * table of globals. False when the bytes are not of the format known here.
 */
bool tm__scan(const void *dump, size_t len, const bool *is_env, int nupvalues,
              tm__scan_fn found, void *user);

#endif
