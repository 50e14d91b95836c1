/*
 * worker_spawn.c: the script's side of a spawned worker
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "run/spawned.h"

/* ---- the command ---- */

static bool is_program(const char *path) {
  struct stat st;
  return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

/* The command in the folder from which this code was loaded: one that was
   built and not installed must not meet an older one that was. */
static bool find_beside(char *out, size_t n) {
  Dl_info where;
  if (!dladdr(&tm__worker_spawn, &where) || !where.dli_fname) return false;
  const char *slash = strrchr(where.dli_fname, '/');
  if (!slash) return false;
  int len = snprintf(out, n, "%.*s/tidemill", (int)(slash - where.dli_fname),
                     where.dli_fname);
  return len > 0 && (size_t)len < n && is_program(out);
}

static char *copy_text(const tm__mem *mem, const char *text) {
  size_t n = strlen(text) + 1;
  char *copy = tm__alloc(mem, n);
  if (copy) memcpy(copy, text, n);
  return copy;
}

static char *find_command(tm_runtime *rt) {
  char beside[4096];
  pthread_mutex_lock(&rt->lock);
  bool told = rt->command != NULL;
  char *command = told ? copy_text(&rt->mem, rt->command) : NULL;
  pthread_mutex_unlock(&rt->lock);
  if (told) return command;
  bool found = find_beside(beside, sizeof beside);
  return copy_text(&rt->mem, found ? beside : TM_COMMAND);
}

static char **copy_environment(const tm__mem *mem) {
  size_t n = 0, bytes = 0;
  for (; environ && environ[n]; n++) bytes += strlen(environ[n]) + 1;
  char **copy = tm__alloc(mem, (n + 1) * sizeof *copy + bytes);
  if (!copy) return NULL;
  char *at = (char *)(copy + n + 1);
  for (size_t i = 0; i < n; i++) {
    copy[i] = at;
    at = stpcpy(at, environ[i]) + 1;
  }
  copy[n] = NULL;
  return copy;
}

/* ---- what workers are told ---- */

/* The settings hold no keys. False without memory. */
static bool copy_settings(tm_runtime *rt, const tm__mem *arena, tm__msg **out) {
  pthread_mutex_lock(&rt->lock);
  const tm__msg *m = rt->settings;
  size_t size = m ? sizeof *m + m->len : 0;
  tm__msg *copy = m ? tm__alloc(arena, size) : NULL;
  if (copy) {
    memcpy((void *)copy, m, size);
    atomic_init(&copy->refs, 1);
  }
  pthread_mutex_unlock(&rt->lock);
  *out = copy;
  return !m || copy;
}

static tm__birth *make_birth(tm__pool *pool) {
  tm_runtime *rt = pool->rt;
  tm__birth *b = tm__calloc(pool->mem, 1, sizeof *b);
  if (!b) return NULL;
  if (!copy_settings(rt, pool->mem, &b->settings)) {
    tm__free(pool->mem, b);
    return NULL;
  }
  b->hub = pool->hub;
  b->numbers = rt->numbers;
  b->root = tm__store_root(rt->store);
  b->parent = tm__pid();
  b->guest_user = pool->guest_user;
  b->initializer = pool->initializer;
  b->max_items = pool->max_items;
  b->max_memory = pool->max_memory;
  b->flags = rt->flags;
  b->threads = atomic_load(&rt->threads);
  b->processes = atomic_load(&rt->processes);
  b->start_method = atomic_load(&rt->start_method);
  b->pin = atomic_load(&rt->pin);
  b->mask = rt->mask;
  return b;
}

static tm__spawner *spawner_new(tm__pool *pool) {
  const tm__mem *mem = &pool->rt->mem;
  tm__spawner *s = tm__calloc(mem, 1, sizeof *s);
  if (!s) return NULL;
  s->birth = make_birth(pool);
  s->command = find_command(pool->rt);
  s->environment = copy_environment(mem);
  if (s->birth && s->command && s->environment) return s;
  tm__spawner_free(s, pool);
  return NULL;
}

void tm__spawner_free(tm__spawner *s, tm__pool *pool) {
  const tm__mem *mem = &pool->rt->mem;
  if (!s) return;
  if (s->birth) tm__msg_unref(s->birth->settings, pool->mem, pool->rt->store);
  tm__free(pool->mem, s->birth);
  tm__free(mem, s->command);
  tm__free(mem, s->environment);
  tm__free(mem, s);
}

/* ---- starting one ---- */

/* A process, while it is made ready. Its descriptors are copies with numbers
   that no worker has, so that none is overwritten before it is given. */
typedef struct launch {
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t files;
  int arena, bell, log; /* log may be -1 */
} launch;

/* SIGINT is held back until the worker ignores it. */
static void choose_signals(posix_spawnattr_t *a) {
  sigset_t set;
  sigfillset(&set);
  posix_spawnattr_setsigdefault(a, &set);
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  posix_spawnattr_setsigmask(a, &set);
  posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

static int give(launch *l, int fd, int as) {
  return fd < 0 ? 0 : posix_spawn_file_actions_adddup2(&l->files, fd, as);
}

static int copy_fd(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, TM__FREE_FD); }

static void launch_term(launch *l) {
  if (l->arena >= 0) close(l->arena);
  if (l->bell >= 0) close(l->bell);
  if (l->log >= 0) close(l->log);
  posix_spawnattr_destroy(&l->attributes);
  posix_spawn_file_actions_destroy(&l->files);
}

/* Answers 0 or an errno; launch_term in any case. */
static int launch_init(launch *l, tm_runtime *rt) {
  posix_spawnattr_init(&l->attributes);
  posix_spawn_file_actions_init(&l->files);
  choose_signals(&l->attributes);
  l->log = tm__log_copy_fd(&rt->log, TM__FREE_FD);
  l->bell = copy_fd(rt->monitor.news);
  l->arena = copy_fd(tm__arena_fd(rt->arena));
  if (l->arena < 0 || l->bell < 0) return errno;
  int error = give(l, l->arena, TM__ARENA_FD);
  if (!error) error = give(l, l->bell, TM__BELL_FD);
  return error ? error : give(l, l->log, TM__LOG_FD);
}

/* The kernel watches the thread that starts a process: the main one and the
   monitor live as long as there are workers. */
static bool lasts(void) {
  return syscall(SYS_gettid) == tm__pid() || tm__monitor_here();
}

/* Answers 0 or an errno. */
static int execute(tm__worker *w, const launch *l, pid_t *pid) {
  enum { NUMBERS = 6, LONGEST = 20 };
  const tm__spawner *s = w->pool->spawner;
  const tm__arena *arena = w->pool->rt->arena;
  uint64_t numbers[NUMBERS] = {(uintptr_t)tm__arena_at(arena, 0),
                               tm__arena_size(arena),
                               tm__arena_offset(arena, s->birth),
                               (uint64_t)w->index,
                               lasts(),
                               l->log >= 0};
  char name[] = "tidemill", mode[] = "--worker", version[] = TM_VERSION;
  char text[NUMBERS][LONGEST];
  char *argv[3 + NUMBERS + 1] = {name, mode, version};
  for (int i = 0; i < NUMBERS; i++) {
    snprintf(text[i], LONGEST, "%llx", (unsigned long long)numbers[i]);
    argv[3 + i] = text[i];
  }
  return posix_spawnp(pid, s->command, &l->files, &l->attributes, argv,
                      s->environment);
}

/* Who reads this has a script's settings, or is a host. */
static const char *remedy(const tm_runtime *rt) {
  return rt->flags & TM_USE_CONFIG
             ? "set worker_command (TIDEMILL_WORKER_COMMAND) to its path"
             : "give its path (tm_config.command)";
}

static int refuse(const tm__worker *w, int error, tm_error *e) {
  const char *command = w->pool->spawner->command;
  errno = error;
  if (error == ENOENT || error == EACCES || error == ENOEXEC)
    return tm__fail(e, TM_ESYS,
                    "cannot start worker processes: '%s': %s; install the "
                    "command tidemill, or %s",
                    command, strerror(error), remedy(w->pool->rt));
  return tm__fail_errno(e, "cannot start worker process %d ('%s')",
                        w->index + 1, command);
}

static int start(tm__worker *w, tm_error *e) {
  launch l;
  pid_t pid = 0;
  tm__pool *pool = w->pool;
  if (!pool->spawner) pool->spawner = spawner_new(pool);
  if (!pool->spawner)
    return tm__fail(e, TM_ENOMEM, "not enough memory for worker processes");
  int status = tm__process_prepare(w, e);
  if (status) return status;
  int error = launch_init(&l, pool->rt);
  if (!error) error = execute(w, &l, &pid);
  launch_term(&l);
  if (!error) {
    tm__process_started(w, pid);
    return TM_OK;
  }
  tm__process_abort(w);
  return refuse(w, error, e);
}

const tm__worker_kind tm__worker_spawn = {.name = "process",
                                          .start = start,
                                          .interrupt = tm__process_interrupt,
                                          .process = true};
