#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

/* What is composed without asking for memory. */
enum { SMALL = 1024 };

static const char *const names[] = {
    [TM_LOG_ERROR] = "error", [TM_LOG_WARNING] = "warning",
    [TM_LOG_INFO] = "info",   [TM_LOG_DEBUG] = "debug",
    [TM_LOG_TODO] = "TODO",
};

const char *tm__log_level_name(int level) {
  return level >= TM_LOG_ERROR && level <= TM_LOG_TODO ? names[level] : NULL;
}

/* The length of the first line in text, without its newline. */
static size_t line_length(const char *text, size_t n) {
  const char *end = n ? memchr(text, '\n', n) : NULL;
  return end ? (size_t)(end - text) : n;
}

static size_t count_lines(const char *text, size_t n) {
  size_t lines = 1;
  for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
  return lines;
}

static size_t put_prefix(char *to, const char *name, size_t indent) {
  char *start = to;
  if (name) {
    *to++ = '[';
    to = stpcpy(to, name);
    to = stpcpy(to, "] ");
  }
  memset(to, ' ', indent);
  return (size_t)(to - start) + indent;
}

/* Copies text with a prefix before each line and a newline after it; answers
   the bytes written. */
static size_t compose(char *to, const char *name, size_t indent,
                      const char *text, size_t n) {
  char *start = to;
  for (;;) {
    size_t len = line_length(text, n);
    to += put_prefix(to, name, indent);
    if (len) memcpy(to, text, len);
    to += len;
    *to++ = '\n';
    if (len == n) return (size_t)(to - start);
    text += len + 1;
    n -= len + 1;
  }
}

/* Waits for a pipe or terminal that was made non-blocking by someone. */
static bool may_write_again(int fd) {
  if (errno == EINTR) return true;
  if (errno != EAGAIN) return false;
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  return poll(&p, 1, -1) >= 0 || errno == EINTR;
}

static void write_all(int fd, const char *bytes, size_t n) {
  while (n > 0) {
    ssize_t done = write(fd, bytes, n);
    if (done < 0) {
      if (!may_write_again(fd)) return;
      continue;
    }
    bytes += done;
    n -= (size_t)done;
  }
}

/* ---- where lines go ---- */

/* Puts fd in the place of the present one. The lock is held. */
static void put_fd(tm__log *log, int fd) {
  if (log->fd != STDERR_FILENO) close(log->fd);
  log->fd = fd;
}

static int open_file(const char *path) {
  return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

/* Takes the file that another process has chosen; one that cannot be opened
   here is not. The lock is held. */
static void follow(tm__log *log) {
  char path[sizeof log->shared->path];
  uint32_t turn = atomic_load(&log->shared->turn);
  if (turn == log->turn || turn % 2) return;
  memcpy(path, log->shared->path, sizeof path);
  if (atomic_load(&log->shared->turn) != turn) return; /* the next line asks */
  int fd = path[0] ? open_file(path) : STDERR_FILENO;
  if (fd >= 0) put_fd(log, fd);
  log->turn = turn;
}

/* How often who changes the file gives way to another who does so. */
enum { PATIENCE = 1000 };

/* Tells the other processes of a file. One that died as it did so is not
   waited for for ever. The lock is held. */
static void tell(tm__log *log, const char *path) {
  tm__log_shared *s = log->shared;
  uint32_t turn = atomic_load(&s->turn);
  for (int i = 0; i < PATIENCE; i++) {
    if (turn % 2 == 0 &&
        atomic_compare_exchange_strong(&s->turn, &turn, turn + 1))
      break;
    sched_yield();
    turn = atomic_load(&s->turn);
  }
  turn = (turn | 1) + 1;
  snprintf(s->path, sizeof s->path, "%s", path);
  log->turn = turn;
  atomic_store(&s->turn, turn);
}

int tm__log_open(tm__log *log, const char *path, tm_error *e) {
  char *full = NULL;
  int fd = path ? open_file(path) : STDERR_FILENO;
  if (fd < 0) return tm__fail_errno(e, "cannot open log file '%s'", path);
  if (path) full = realpath(path, NULL);
  pthread_mutex_lock(&log->lock);
  put_fd(log, fd);
  if (!path || (full && strlen(full) < sizeof log->shared->path))
    tell(log, full ? full : "");
  pthread_mutex_unlock(&log->lock);
  free(full);
  return TM_OK;
}

/* Hands whole lines, each with its newline, to the sink. */
static void deliver(tm__log *log, int level, char *lines, size_t n) {
  pthread_mutex_lock(&log->lock);
  follow(log);
  if (!log->fn || log->fd != STDERR_FILENO) {
    write_all(log->fd, lines, n);
  } else {
    for (size_t at = 0, len; at < n; at += len + 1) {
      len = line_length(lines + at, n - at);
      lines[at + len] = '\0';
      log->fn(log->user, level, lines + at);
    }
  }
  pthread_mutex_unlock(&log->lock);
}

/* Writes text when there is no memory to compose it: in pieces. */
static void write_bare(tm__log *log, int level, const char *text, size_t n) {
  char piece[SMALL];
  do {
    size_t len = n < SMALL - 1 ? n : SMALL - 1;
    deliver(log, level, piece, compose(piece, NULL, 0, text, len));
    text += len;
    n -= len;
  } while (n > 0);
}

static void write_composed(tm__log *log, int level, size_t indent,
                           const char *text, size_t n) {
  const char *name = level == TM_LOG_INFO ? NULL : tm__log_level_name(level);
  char small[SMALL], *lines = small;
  size_t each = indent + (name ? strlen(name) + 3 : 0) + 1;
  size_t total = n + each * count_lines(text, n);
  if (total > sizeof small) lines = tm__alloc(log->mem, total);
  if (!lines) {
    write_bare(log, level, text, n);
    return;
  }
  deliver(log, level, lines, compose(lines, name, indent, text, n));
  if (lines != small) tm__free(log->mem, lines);
}

void tm__log_write(tm__log *log, int level, int indent, const char *text,
                   size_t n) {
  if (!tm__log_on(log, level)) return;
  int error = errno; /* who logs an error may still want to read it */
  if (n > 0 && text[n - 1] == '\n') n--;
  write_composed(log, level, indent > 0 ? 2 * (size_t)indent : 0, text, n);
  errno = error;
}

void tm__log_printf(tm__log *log, int level, const char *format, ...) {
  if (!tm__log_on(log, level)) return;
  char text[1001];
  va_list ap;
  va_start(ap, format);
  int n = vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  if (n < 0) return;
  size_t len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  tm__log_write(log, level, 0, text, len);
}

int tm__log_copy_fd(tm__log *log, int least) {
  pthread_mutex_lock(&log->lock);
  int copy = -1;
  if (log->fd != STDERR_FILENO) copy = fcntl(log->fd, F_DUPFD_CLOEXEC, least);
  pthread_mutex_unlock(&log->lock);
  return copy;
}

void tm__log_adopt_fd(tm__log *log, int fd) {
  pthread_mutex_lock(&log->lock);
  put_fd(log, fd);
  pthread_mutex_unlock(&log->lock);
}

int tm__log_init(tm__log *log, const tm__mem *mem, tm_log_fn fn, void *user,
                 tm_error *e) {
  *log = (tm__log){.mem = mem, .fn = fn, .user = user, .fd = STDERR_FILENO};
  log->shared = &log->own;
  atomic_init(&log->own.level, TM_LOG_INFO);
  errno = pthread_mutex_init(&log->lock, NULL);
  return errno ? tm__fail_errno(e, "cannot make the log's lock") : TM_OK;
}

void tm__log_share(tm__log *log, tm__log_shared *shared) {
  atomic_store(&shared->level, tm__log_level(log));
  atomic_store(&shared->turn, log->turn);
  memcpy(shared->path, log->shared->path, sizeof shared->path);
  log->shared = shared;
}

void tm__log_join(tm__log *log, tm__log_shared *shared) {
  log->shared = shared;
}

void tm__log_before_fork(tm__log *log) { pthread_mutex_lock(&log->lock); }

void tm__log_after_fork(tm__log *log) { pthread_mutex_unlock(&log->lock); }

void tm__log_term(tm__log *log) {
  put_fd(log, STDERR_FILENO);
  pthread_mutex_destroy(&log->lock);
}
