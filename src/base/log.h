/*
 * log.h: one log for a runtime, written in whole lines
 *
 * A log has a level, a sink (stderr, a file, or the host's callback) and a
 * lock. Any thread may write. A line is composed first and written with one
 * write(2) (or one call of the host's function), so that lines of threads
 * and of processes that share the file (opened with O_APPEND) never mix.
 *
 * A line reads "[LEVEL] " + two spaces for each level of indent + text; a
 * text of several lines becomes several lines, all with the same prefix. Info
 * lines have no level prefix. Indent is the caller's: each Lua state has its
 * own.
 */
#ifndef TM_BASE_LOG_H
#define TM_BASE_LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/memory.h"

/*
 * What all processes of a runtime have in common: the level, and the file.
 * Who changes the file raises `turn` twice; the others see before their next
 * line that it is not the one they know, and open the file themselves.
 */
typedef struct tm__log_shared {
  _Atomic int level;     /* lines above it are dropped; TM_LOG_INFO at first */
  _Atomic uint32_t turn; /* odd while the path changes */
  char path[4096];       /* absolute; empty: where lines went at first */
} tm__log_shared;

typedef struct tm__log {
  const tm__mem *mem;
  pthread_mutex_t lock; /* guards fn, user, fd, turn and each write */
  tm__log_shared *shared;
  tm__log_shared own; /* until there is memory that processes share */
  tm_log_fn fn;       /* the host's; NULL: fd */
  void *user;
  int fd;        /* 2, or a log file */
  uint32_t turn; /* of the file that fd is */
} tm__log;

int tm__log_init(tm__log *log, const tm__mem *mem, tm_log_fn fn, void *user,
                 tm_error *e);
void tm__log_term(tm__log *log);

/* From now on the level and the file are what `shared` says, which other
   processes see. share: as they are now, before any other process is there;
   join: as others have them. */
void tm__log_share(tm__log *log, tm__log_shared *shared);
void tm__log_join(tm__log *log, tm__log_shared *shared);

/* Around a fork, so that no other thread has the lock or is half way through
   a line; the second one in both processes. The child writes to the same
   file, or calls the host's function in its own process. */
void tm__log_before_fork(tm__log *log);
void tm__log_after_fork(tm__log *log);

/* Whether a line at this level would be written: cheap, for callers who
   would have to compose one. */
static inline bool tm__log_on(const tm__log *log, int level) {
  return level <=
         atomic_load_explicit(&log->shared->level, memory_order_relaxed);
}

/* Of all processes. */
static inline int tm__log_level(const tm__log *log) {
  return atomic_load(&log->shared->level);
}
static inline void tm__log_set_level(tm__log *log, int level) {
  atomic_store(&log->shared->level, level);
}

/* Writes text (n bytes, any number of lines, the last newline may be
   missing) at a level. A text that finds no memory is written without its
   prefix. Never fails; keeps errno. */
void tm__log_write(tm__log *log, int level, int indent, const char *text,
                   size_t n);

/* The same, composed as printf would; at most 1000 bytes. */
void tm__log_printf(tm__log *log, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* From now on lines, of all processes, go to the end of this file (made when
   absent) instead of stderr or the host's function; NULL: back to those. On
   failure nothing changes. */
int tm__log_open(tm__log *log, const char *path, tm_error *e);

/* For a process that is started on its own. A copy of the log file's
   descriptor, `least` or above and closed by exec; -1 when lines go elsewhere,
   or there is none to be had. There: lines go to fd, which is the log's. */
int tm__log_copy_fd(tm__log *log, int least);
void tm__log_adopt_fd(tm__log *log, int fd);

/* "error", "warning", "info", "debug", "TODO"; NULL for other numbers. */
const char *tm__log_level_name(int level);

#endif
