/* Tests of base/log.h. */

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/error.h"
#include "check.h"

static char path[] = P_tmpdir "/tidemill-spec-XXXXXX";

static const tm__mem heap = {tm__heap_alloc, NULL};

/* What is in the log file now, as a string; the file is emptied. */
static char *taken(void) {
  static char text[1 << 16];
  int fd = open(path, O_RDONLY);
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = '\0';
  CHECK(truncate(path, 0) == 0);
  return text;
}

static bool took(const char *expected) {
  const char *text = taken();
  if (strcmp(text, expected)) fprintf(stderr, "the log has: %s\n", text);
  return !strcmp(text, expected);
}

static void write_text(tm__log *log, int level, int indent, const char *s) {
  tm__log_write(log, level, indent, s, strlen(s));
}

static void open_log(tm__log *log, const tm__mem *mem) {
  CHECK(tm__log_init(log, mem, NULL, NULL, NULL) == TM_OK);
  CHECK(tm__log_open(log, path, NULL) == TM_OK);
}

static void names(void) {
  CHECK(!strcmp(tm__log_level_name(TM_LOG_ERROR), "error"));
  CHECK(!strcmp(tm__log_level_name(TM_LOG_WARNING), "warning"));
  CHECK(!strcmp(tm__log_level_name(TM_LOG_INFO), "info"));
  CHECK(!strcmp(tm__log_level_name(TM_LOG_DEBUG), "debug"));
  CHECK(!strcmp(tm__log_level_name(TM_LOG_TODO), "TODO"));
  CHECK(!tm__log_level_name(0) && !tm__log_level_name(6));
}

static void lines(void) {
  tm__log log;
  open_log(&log, &heap);
  write_text(&log, TM_LOG_INFO, 0, "plain");
  CHECK(took("plain\n"));
  write_text(&log, TM_LOG_ERROR, 2, "a\nb\n");
  CHECK(took("[error]     a\n[error]     b\n"));
  write_text(&log, TM_LOG_WARNING, 1, "\nx\n\n");
  CHECK(took("[warning]   \n[warning]   x\n[warning]   \n"));
  write_text(&log, TM_LOG_INFO, 0, "");
  CHECK(took("\n"));
  tm__log_write(&log, TM_LOG_INFO, 0, NULL, 0);
  CHECK(took("\n"));
  tm__log_printf(&log, TM_LOG_ERROR, "%d of %s", 2, "x");
  CHECK(took("[error] 2 of x\n"));
  tm__log_printf(&log, TM_LOG_INFO, "%2000d", 1);
  CHECK(strlen(taken()) == 1001);
  tm__log_term(&log);
}

static void levels(void) {
  tm__log log;
  open_log(&log, &heap);
  CHECK(tm__log_on(&log, TM_LOG_INFO) && !tm__log_on(&log, TM_LOG_DEBUG));
  write_text(&log, TM_LOG_DEBUG, 0, "not seen");
  tm__log_printf(&log, TM_LOG_TODO, "nor this");
  CHECK(took(""));
  tm__log_set_level(&log, TM_LOG_TODO);
  write_text(&log, TM_LOG_DEBUG, 0, "d");
  write_text(&log, TM_LOG_TODO, 0, "t");
  CHECK(took("[debug] d\n[TODO] t\n"));
  tm__log_term(&log);
}

static void long_text(void) {
  enum { N = 20000 };
  tm__log log;
  open_log(&log, &heap);
  static char text[N + 1];
  memset(text, 'x', N);
  write_text(&log, TM_LOG_ERROR, 0, text);
  const char *seen = taken();
  CHECK(!strncmp(seen, "[error] xxx", 11) && strlen(seen) == N + 9);
  tm__log_term(&log);
}

static void without_memory(void) {
  check_heap counter = {.fail_at = 1};
  tm__mem mem = {check_alloc, &counter};
  tm__log log;
  open_log(&log, &mem);
  static char text[3001];
  memset(text, 'y', 3000);
  write_text(&log, TM_LOG_ERROR, 0, text);
  const char *seen = taken();
  size_t y = 0;
  for (const char *p = seen; *p; p++) y += *p == 'y';
  CHECK(counter.requests == 1 && y == 3000 && !strchr(seen, '['));
  write_text(&log, TM_LOG_ERROR, 0, text);
  CHECK(!strncmp(taken(), "[error] y", 9) && counter.live == 0);
  tm__log_term(&log);
}

static void files(void) {
  tm__log log;
  tm_error e = {0};
  open_log(&log, &heap);
  CHECK(tm__log_open(&log, "/no/such/folder/log", &e) == TM_ESYS);
  CHECK(strstr(e.text, "/no/such/folder/log") != NULL);
  write_text(&log, TM_LOG_INFO, 0, "still here");
  CHECK(took("still here\n"));
  write_text(&log, TM_LOG_INFO, 0, "one");
  CHECK(tm__log_open(&log, path, NULL) == TM_OK);
  write_text(&log, TM_LOG_INFO, 0, "two");
  CHECK(took("one\ntwo\n"));
  tm__log_term(&log);
}

/* Who logs an error may read errno after it. */
static void to_nowhere(void) {
  tm__log log;
  CHECK(tm__log_init(&log, &heap, NULL, NULL, NULL) == TM_OK);
  log.fd = -1;
  errno = 77;
  write_text(&log, TM_LOG_INFO, 0, "lost");
  CHECK(errno == 77);
  log.fd = STDERR_FILENO;
  tm__log_term(&log);
}

/* stderr is the default, and what NULL goes back to. */
static bool to_stderr(void *arg) {
  int fd = open(path, O_WRONLY | O_APPEND);
  CHECK(dup2(fd, 2) == 2);
  tm__log log;
  CHECK(tm__log_init(&log, &heap, NULL, NULL, NULL) == TM_OK);
  write_text(&log, TM_LOG_INFO, 0, "first");
  CHECK(tm__log_open(&log, "/dev/null", NULL) == TM_OK);
  write_text(&log, TM_LOG_INFO, 0, "second");
  CHECK(tm__log_open(&log, NULL, NULL) == TM_OK);
  write_text(&log, TM_LOG_INFO, 0, "third");
  tm__log_term(&log);
  return write(2, "", 0) == 0 && arg == NULL;
}

typedef struct heard {
  int count, level;
  char last[100];
} heard;

static void hear(void *user, int level, const char *line) {
  heard *h = user;
  h->count++;
  h->level = level;
  snprintf(h->last, sizeof h->last, "%s", line);
}

static void to_the_host(void) {
  heard h = {0};
  tm__log log;
  CHECK(tm__log_init(&log, &heap, hear, &h, NULL) == TM_OK);
  write_text(&log, TM_LOG_WARNING, 1, "one\ntwo\n");
  CHECK(h.count == 2 && h.level == TM_LOG_WARNING);
  CHECK(!strcmp(h.last, "[warning]   two"));
  CHECK(tm__log_open(&log, path, NULL) == TM_OK);
  write_text(&log, TM_LOG_INFO, 0, "in the file");
  CHECK(h.count == 2 && took("in the file\n"));
  CHECK(tm__log_open(&log, NULL, NULL) == TM_OK);
  write_text(&log, TM_LOG_INFO, 0, "back");
  CHECK(h.count == 3 && !strcmp(h.last, "back"));
  tm__log_term(&log);
}

enum { THREADS = 4, LINES = 100 };

static void *write_many(void *arg) {
  for (int i = 0; i < LINES; i++)
    tm__log_printf(arg, TM_LOG_ERROR, "a line of one thread\nand one more");
  return NULL;
}

/* Looks for whole pairs of lines, and closes the log. */
static void check_pairs(tm__log *log, int expected) {
  static const char both[] =
      "[error] a line of one thread\n[error] and one more\n";
  const char *text = taken();
  int count = 0;
  for (; !strncmp(text, both, sizeof both - 1); text += sizeof both - 1)
    count++;
  CHECK(count == expected && *text == '\0');
  tm__log_term(log);
}

static void from_threads(void) {
  tm__log log;
  open_log(&log, &heap);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    pthread_create(&threads[i], NULL, write_many, &log);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  check_pairs(&log, THREADS * LINES);
}

static _Atomic bool forked;

/* Does not end before the last fork: the thread sanitizer takes a thread that
   has ended, and was not joined, for one that the child forgot. */
static void *write_and_stay(void *arg) {
  write_many(arg);
  while (!forked) sched_yield();
  return NULL;
}

/* Children of a process whose other threads are at the log. */
static void from_children(void) {
  tm__log log;
  open_log(&log, &heap);
  pthread_t threads[THREADS];
  pid_t pids[THREADS];
  fflush(NULL);
  for (int i = 0; i < THREADS; i++) {
    pthread_create(&threads[i], NULL, write_and_stay, &log);
    tm__log_before_fork(&log);
    pids[i] = fork();
    tm__log_after_fork(&log);
    if (pids[i]) continue;
    write_many(&log);
    _exit(0);
  }
  forked = true;
  for (int i = 0; i < THREADS; i++) {
    int status;
    pthread_join(threads[i], NULL);
    CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
  }
  check_pairs(&log, 2 * THREADS * LINES);
}

enum { FLOOD = 300000 };

static void *drink(void *arg) {
  static char some[4096];
  size_t total = 0;
  for (ssize_t n; (n = read(*(int *)arg, some, sizeof some)) > 0;)
    total += (size_t)n;
  CHECK(total == FLOOD + 1);
  return NULL;
}

/* A pipe takes parts of a long text, and a non-blocking one says "again". */
static void to_a_slow_pipe(void) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
  tm__log log;
  CHECK(tm__log_init(&log, &heap, NULL, NULL, NULL) == TM_OK);
  log.fd = ends[1];
  pthread_t thread;
  pthread_create(&thread, NULL, drink, &ends[0]);
  static char text[FLOOD];
  memset(text, 'z', sizeof text);
  tm__log_write(&log, TM_LOG_INFO, 0, text, sizeof text);
  tm__log_term(&log);
  pthread_join(thread, NULL);
  close(ends[0]);
}

int main(void) {
  int fd = mkstemp(path);
  if (fd < 0) return EXIT_FAILURE;
  close(fd);
  names();
  lines();
  levels();
  long_text();
  without_memory();
  files();
  to_nowhere();
  CHECK(check_child(to_stderr, NULL));
  CHECK(took("first\nthird\n"));
  to_the_host();
  from_threads();
  from_children();
  to_a_slow_pipe();
  unlink(path);
  return check_done();
}
