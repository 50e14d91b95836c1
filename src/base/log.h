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

typedef struct tm__log {
  const tm__mem *mem;
  pthread_mutex_t lock; /* guards fn, user, fd and each write */
  _Atomic int level;    /* lines above it are dropped; TM_LOG_INFO at first */
  tm_log_fn fn;         /* the host's; NULL: fd */
  void *user;
  int fd; /* 2, or a log file */
} tm__log;

int tm__log_init(tm__log *log, const tm__mem *mem, tm_log_fn fn, void *user,
                 tm_error *e);
void tm__log_term(tm__log *log);

/* Around a fork, so that no other thread has the lock or is half way through
   a line; the second one in both processes. The child writes to the same
   file, or calls the host's function in its own process. */
void tm__log_before_fork(tm__log *log);
void tm__log_after_fork(tm__log *log);

/* Whether a line at this level would be written: cheap, for callers who
   would have to compose one. */
static inline bool tm__log_on(const tm__log *log, int level) {
  return level <=
         atomic_load_explicit(&((tm__log *)log)->level, memory_order_relaxed);
}

/* Writes text (n bytes, any number of lines, the last newline may be
   missing) at a level. A text that finds no memory is written without its
   prefix. Never fails; keeps errno. */
void tm__log_write(tm__log *log, int level, int indent, const char *text,
                   size_t n);

/* The same, composed as printf would; at most 1000 bytes. */
void tm__log_printf(tm__log *log, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* From now on lines go to the end of this file (made when absent) instead
   of stderr or the host's function; NULL: back to those. On failure nothing
   changes. */
int tm__log_open(tm__log *log, const char *path, tm_error *e);

/* For a process that is started on its own. A copy of the log file's
   descriptor, `least` or above and closed by exec; -1 when lines go elsewhere,
   or there is none to be had. There: lines go to fd, which is the log's. */
int tm__log_copy_fd(tm__log *log, int least);
void tm__log_adopt_fd(tm__log *log, int fd);

/* "error", "warning", "info", "debug", "TODO"; NULL for other numbers. */
const char *tm__log_level_name(int level);

#endif
