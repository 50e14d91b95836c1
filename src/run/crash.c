#include "run/crash.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES = 14, OURS = 2, STACK = 64 * 1024, PATIENCE_S = 2 };

static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static tm__seat *seat_of_process;

/* A crash may be a stack that overflowed. */
static char own_stack[STACK];

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* "libm.so.6 cos+0x1c": what can be told of an address. */
static int describe(char *at, size_t n, int number, void *address) {
  Dl_info where;
  unsigned long offset = 0;
  if (!dladdr(address, &where) || !where.dli_fname)
    return snprintf(at, n, "\n\t#%d %p", number, address);
  if (where.dli_saddr)
    offset = (unsigned long)((char *)address - (char *)where.dli_saddr);
  else
    offset = (unsigned long)((char *)address - (char *)where.dli_fbase);
  return snprintf(at, n, "\n\t#%d %s %s+0x%lx", number,
                  base_name(where.dli_fname),
                  where.dli_sname ? where.dli_sname : "", offset);
}

/* Not all that is called here is safe in a handler: who crashed inside the
   loader or malloc would wait for ever, so an alarm kills it. */
static void write_backtrace(tm__seat *seat) {
  void *frames[FRAMES];
  char *at = seat->crash, *end = at + sizeof seat->crash;
  alarm(PATIENCE_S);
  int n = backtrace(frames, FRAMES);
  for (int i = OURS; i < n && end - at > 1; i++)
    at += describe(at, (size_t)(end - at), i - OURS, frames[i]);
}

static void on_crash(int number) {
  static volatile sig_atomic_t again;
  signal(number, SIG_DFL);
  signal(SIGALRM, SIG_DFL);
  if (!again) {
    again = 1;
    write_backtrace(seat_of_process);
  }
  raise(number);
}

static void watch(int number) {
  struct sigaction before;
  struct sigaction action = {.sa_handler = on_crash,
                             .sa_flags = SA_ONSTACK | SA_NODEFER};
  sigemptyset(&action.sa_mask);
  if (sigaction(number, NULL, &before) || before.sa_handler != SIG_DFL) return;
  sigaction(number, &action, NULL);
}

/* The first backtrace loads a library: now, not in the handler. */
void tm__crash_watch(tm__seat *seat) {
  void *frame;
  stack_t stack = {.ss_sp = own_stack, .ss_size = sizeof own_stack};
  seat_of_process = seat;
  seat->crash[0] = '\0';
  backtrace(&frame, 1);
  sigaltstack(&stack, NULL);
  for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) watch(fatal[i]);
}
