#include "run/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/crash.h"
#include "run/pool.h"
#include "run/spawned.h"

/* After SIGTERM, until SIGKILL. */
#define TERM_NS 200000000u

/* ---- the parent's side: birth ---- */

int tm__process_prepare(tm__worker *w, tm_error *e) {
  tm_runtime *rt = w->pool->rt;
  tm__seat *s = &w->pool->hub->seats[w->index];
  w->seat = s;
  w->pidfd = -1;
  s->crash[0] = '\0';
  s->ledger = tm__ledger_new(rt->arena);
  if (!s->ledger)
    return tm__fail(e, TM_ENOMEM, "the arena has no room for a worker");
  atomic_store(&s->mood, TM__OPENING);
  return TM_OK;
}

void tm__process_abort(tm__worker *w) {
  tm__store_settle(w->pool->rt->store, w->seat->ledger);
  w->seat->ledger = NULL;
  atomic_store(&w->seat->mood, TM__VACANT);
}

void tm__process_started(tm__worker *w, int32_t pid) {
  w->pid = pid;
  w->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  w->alive = true;
  atomic_store(&w->seat->pid, pid);
  tm__monitor_wake(&w->pool->rt->monitor);
}

/* ---- the child ---- */

int tm__doorbell = -1;

static int32_t parent_pid;
static bool orphans_itself; /* nobody tells it when its parent dies */

void tm__process_check_parent(void) {
  if (orphans_itself && getppid() != parent_pid) _exit(TM__EXIT_DONE);
}

static void *await_parent(void *argument) {
  struct pollfd parent = {.fd = *(int *)argument, .events = POLLIN};
  while (poll(&parent, 1, -1) < 0 && errno == EINTR) {
  }
  _exit(TM__EXIT_DONE);
}

/* A thread for it, since an item may take long; false when there is none.
   Signals are for the thread that runs the items. */
static bool watch_parent(int32_t parent) {
  static int pidfd;
  sigset_t all, before;
  pthread_t thread;
  pidfd = (int)syscall(SYS_pidfd_open, parent, 0);
  if (pidfd < 0) return false;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = tm__thread_start(&thread, "tm-parent", await_parent, &pidfd);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return !error && !pthread_detach(thread);
}

static void follow_parent(int32_t parent, bool watched) {
  parent_pid = parent;
  if (watched) prctl(PR_SET_PDEATHSIG, SIGKILL);
  orphans_itself = !watched && !watch_parent(parent);
  if (getppid() != parent) _exit(TM__EXIT_DONE);
}

/* Ctrl-C is for the script, which then ends us. */
static void set_signals(void) {
  sigset_t none;
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_DFL);
  signal(SIGCHLD, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What the script read ahead is the script's as well. */
static void set_streams(void) {
  int null = open("/dev/null", O_RDONLY);
  if (null > STDIN_FILENO) {
    dup2(null, STDIN_FILENO);
    close(null);
  }
  __fpurge(stdin);
  setvbuf(stdout, NULL, _IOLBF, 1 << 16);
}

void tm__process_ring(void) {
  uint64_t one = 1;
  if (tm__doorbell >= 0 && write(tm__doorbell, &one, sizeof one) < 0)
    return; /* it rings already */
}

void tm__process_begin(int32_t parent, bool watched) {
  follow_parent(parent, watched);
  set_signals();
  set_streams();
}

_Noreturn void tm__process_live(tm__worker *w) {
  char name[32];
  snprintf(name, sizeof name, "tm-worker-%d", w->index + 1);
  tm__thread_name(name);
  tm__worker_set_self(w);
  w->thread = pthread_self();
  tm__crash_watch(w->seat);
  tm__worker_open(w);
  tm__hub_mood(w->pool->hub, TM__AWAKE);
  tm__worker_serve(w);
  tm__worker_close(w);
  fflush(NULL);
  tm__hub_mood(w->pool->hub, TM__LEAVING);
  _exit(TM__EXIT_DONE);
}

/* ---- fork ---- */

/* The kernel watches the thread that forked: only the main one lives as long
   as its process. */
static _Noreturn void forked(tm__worker *w, int32_t parent, bool main_thread) {
  tm__pool *pool = w->pool;
  tm__process_begin(parent, main_thread);
  tm__worker_child();
  tm__served = pool;
  tm__served_seat = w->seat;
  atomic_store(&w->seat->pid, tm__pid());
  tm__doorbell = pool->rt->monitor.news;
  tm__runtime_child(pool->rt, pool, w->seat->ledger);
  pthread_mutex_init(&w->lock, NULL);
  tm__process_live(w);
}

static int start_fork(tm__worker *w, tm_error *e) {
  tm_runtime *rt = w->pool->rt;
  bool main_thread = syscall(SYS_gettid) == tm__pid();
  int32_t parent = tm__pid();
  sigset_t all, before;
  int status = tm__process_prepare(w, e);
  if (status) return status;
  if (w->pool->guest->inherit) status = w->pool->guest->inherit(w, e);
  fflush(NULL);
  tm__runtime_before_fork(rt);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* handlers are the parent's */
  pid_t pid = status ? -1 : fork();
  if (pid == 0) forked(w, parent, main_thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  tm__runtime_after_fork(rt);
  if (pid > 0) {
    tm__process_started(w, pid);
    return TM_OK;
  }
  tm__process_abort(w);
  if (status) return status;
  return tm__fail_errno(e, "cannot fork worker process %d", w->index + 1);
}

/* ---- the parent's side: signals and death ---- */

static void send(tm__worker *w, int number) {
  if (w->pidfd >= 0)
    syscall(SYS_pidfd_send_signal, w->pidfd, number, NULL, 0);
  else if (w->pid)
    kill(w->pid, number);
}

void tm__process_interrupt(tm__worker *w) {
  if (w->pid) send(w, TM__SIGNAL);
}

void tm__process_kill(tm__worker *w, int why) {
  uint64_t now = tm__now();
  if (!w->doomed) {
    w->doomed = why;
    w->doomed_at = now;
    send(w, SIGTERM);
  } else if (now - w->doomed_at >= TERM_NS) {
    send(w, SIGKILL);
  }
}

/* What the status of a process says that ended itself. */
static void describe_exit(const tm__worker *w, int code, char *text, size_t n) {
  const tm__spawner *s = w->pool->spawner;
  bool opening = atomic_load(&w->seat->mood) == TM__OPENING;
  if (code == TM__EXIT_NO_MEMORY)
    snprintf(text, n, "the worker process ended: there is no memory");
  else if (code == TM__EXIT_NO_ARENA)
    snprintf(text, n,
             "the worker process could not map the memory that it "
             "shares with the script where the script has it");
  else if (code == TM__EXIT_OTHER)
    snprintf(text, n, "'%s' is not of version " TM_VERSION " of tidemill",
             s ? s->command : "the command");
  else if (s && opening)
    snprintf(text, n, "'%s' ended with status %d", s->command, code);
  else
    snprintf(text, n, "the worker process ended with status %d", code);
}

/* The status of a process that somebody else has waited for. */
enum { UNKNOWN = -1 };

/* Whether it died of itself; how, as a text. */
static bool describe(const tm__worker *w, int status, char *text, size_t n) {
  if (status == UNKNOWN) {
    snprintf(text, n,
             "the worker process ended; how is not known, since the program "
             "ignores SIGCHLD or has waited for it itself");
    return atomic_load(&w->seat->mood) != TM__LEAVING;
  }
  const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "";
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  uint32_t mood = atomic_load(&w->seat->mood);
  if (WIFSIGNALED(status))
    snprintf(text, n, "the worker process was killed by SIG%s%s%s",
             name ? name : "?", w->seat->crash[0] ? "; in C:" : "",
             w->seat->crash);
  else
    describe_exit(w, code, text, n);
  return WIFSIGNALED(status) || code || mood != TM__LEAVING;
}

static void reaped(tm__worker *w, int status) {
  char text[TM__LAST_WORDS];
  int kind = w->doomed ? w->doomed : TM__FAIL_DIED;
  bool died = describe(w, status, text, sizeof text);
  tm__pool *pool = w->pool;
  if (w->doomed == TM__FAIL_TIMEOUT)
    snprintf(text, sizeof text,
             "did not return from C code in time; its process was killed");
  if (died) atomic_fetch_add(&pool->deaths, 1);
  tm__death_settle(w, died ? text : NULL, kind);
  close(w->pidfd);
  w->pidfd = -1;
  w->pid = 0;
  w->alive = false;
}

bool tm__process_reap(tm__worker *w) {
  int status = UNKNOWN;
  siginfo_t info = {.si_pid = 0};
  if (!w->pid) return true;
  /* its number is not another's before its account is settled */
  int failed = waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT);
  if (failed ? errno == EINTR : !info.si_pid) return false;
  if (!failed)
    status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8
                                        : info.si_status & 0x7f;
  int32_t pid = w->pid;
  reaped(w, status);
  if (!failed) waitpid(pid, NULL, WNOHANG);
  atomic_store(&w->exited, 1);
  atomic_store(&w->pool->died_at, tm__now());
  atomic_fetch_add(&w->pool->dead, 1);
  atomic_fetch_add(&w->pool->ends, 1);
  tm__futex_wake(&w->pool->ends, INT32_MAX, false);
  return true;
}

const tm__worker_kind *tm__worker_process_kind(const tm_runtime *rt) {
  int method = atomic_load(&rt->start_method);
  bool spawn = method == TM_START_SPAWN;
  if (method == TM_START_AUTO) spawn = tm__foreign_threads() > 0;
  return spawn ? &tm__worker_spawn : &tm__worker_fork;
}

const tm__worker_kind tm__worker_fork = {.name = "process",
                                         .start = start_fork,
                                         .interrupt = tm__process_interrupt,
                                         .process = true,
                                         .forks = true};
