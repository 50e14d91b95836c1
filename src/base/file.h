/*
 * file.h: whole parts of files, read, written and mapped
 */
#ifndef TM_BASE_FILE_H
#define TM_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Which file it is, and whether it is still as it was. */
typedef struct tm__file_id {
  uint64_t device, inode, size;
  int64_t seconds, nanoseconds; /* of the last change */
} tm__file_id;

/*
 * Writes head and then data. A regular file appears under its name when it is
 * complete: it is written beside that and renamed, so that who has the old
 * one open or mapped keeps it.
 */
int tm__file_write(const char *path, const void *head, size_t nhead,
                   const void *data, size_t n, tm_error *e);

/* Reads n bytes from offset on; TM_EINVAL when the file is shorter. */
int tm__file_read(const char *path, uint64_t offset, void *data, size_t n,
                  tm_error *e);

int tm__file_identify(const char *path, tm__file_id *out, tm_error *e);

/* Maps the whole file for reading; id says which it was. It must not be cut
   short meanwhile: reading what is gone kills the process (SIGBUS). */
int tm__file_map(const char *path, void **base, size_t *size, tm__file_id *id,
                 tm_error *e);
void tm__file_unmap(void *base, size_t size);

#endif
