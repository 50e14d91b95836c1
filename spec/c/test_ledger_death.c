/* What is left in the store when worker processes are killed. */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>

#include "check.h"
#include "worker.h"

/*
 * Workers are at everything at once, and are killed. Each value is one byte,
 * many times, so that one that was freed too early shows.
 */
enum { SHARED = 4, BOXES = 4, HELD = 16, LEN = 100, LEAK = 1 };

typedef struct board {
  tm__key keys[SHARED];
  _Atomic tm__key boxes[BOXES]; /* keys on their way, with a passed count */
  _Atomic int steps, bad;
} board;

static void look(board *b, const tm__pin *p) {
  for (size_t i = 1; i < p->len; i++) b->bad += p->bytes[i] != p->bytes[0];
}

static void read_key(board *b, tm__key key) {
  tm__pin p;
  if (tm__store_pin(store, key, &p, NULL)) {
    b->bad++;
    return;
  }
  look(b, &p);
  tm__store_unpin(store, &p);
}

/* Puts an entry that names key on its way, and ends what was there. */
static void send(board *b, int box, tm__key key) {
  char bytes[LEN];
  tm__key fresh;
  memset(bytes, box, sizeof bytes);
  if (!tm__store_retain(store, key)) b->bad++;
  const tm__content c = {
      .bytes = bytes, .len = sizeof bytes, .keys = &key, .nkeys = 1};
  if (tm__store_put(store, TM__OBJECT, 0, &c, &fresh, NULL)) b->bad++;
  tm__store_pass(store, &fresh, 1);
  fresh = atomic_exchange(&b->boxes[box], fresh);
  if (!fresh) return;
  tm__store_adopt(store, &fresh, 1);
  read_key(b, fresh);
  tm__store_release(store, fresh);
}

static void renew(board *b, tm__key key, int byte) {
  char bytes[LEN];
  memset(bytes, byte, sizeof bytes);
  if (tm__store_update(store, key, bytes, sizeof bytes, NULL)) b->bad++;
}

/* A worker's handles and pins, by place. */
typedef struct holdings {
  tm__key keys[HELD];
  tm__pin pins[HELD];
} holdings;

static void change_handle(board *b, tm__key *place, tm__key key) {
  tm__store_release(store, *place);
  *place = key;
  if (!tm__store_retain(store, key)) b->bad++;
}

static void change_pin(board *b, tm__pin *place, tm__key key) {
  look(b, place);
  tm__store_unpin(store, place);
  if (tm__store_pin(store, key, place, NULL)) b->bad++;
}

static void act(board *b, holdings *h, uint32_t x) {
  tm__key key = b->keys[x % SHARED];
  uint32_t place = x >> 4 & (HELD - 1);
  switch (x >> 8 & 7) {
  case 0: send(b, (int)(x >> 4 & 3), key); break;
  case 1: renew(b, key, (int)(x & 0xff)); break;
  case 2: {
    tm__msg *m = message(store, key);
    if (x & 16) tm__msg_pass(m, store);
    tm__msg_unref(m, &heap, store);
    break;
  }
  case 3:
  case 4:
  case 5: change_handle(b, &h->keys[place], key); break;
  default: change_pin(b, &h->pins[place], key);
  }
}

static void *hammer(void *arg) {
  board *b = arg;
  holdings h = {0};
  uint32_t seed = (uint32_t)getpid() + (uint32_t)(uintptr_t)&h;
  for (;; b->steps++) {
    seed = seed * 1664525u + 1013904223u;
    act(b, &h, seed >> 8);
  }
  return NULL;
}

/* Two threads, where a forked child may start one. */
static void work(void *arg) {
  pthread_t thread;
  if (!CHECK_THREAD_SANITIZED) pthread_create(&thread, NULL, hammer, arg);
  hammer(arg);
}

static board *make_board(void) {
  board *b = tm__arena_alloc(arena, sizeof *b);
  memset(b, 0, sizeof *b);
  for (int i = 0; i < SHARED; i++) b->keys[i] = add("kkkkkkkkkk");
  return b;
}

static void empty_boxes(board *b) {
  for (int i = 0; i < BOXES; i++)
    tm__store_release(store, atomic_exchange(&b->boxes[i], 0));
}

/* Counts that are left beside the parent's own; none is missing. */
static int64_t leaked(board *b) {
  int64_t left = 0;
  for (int i = 0; i < SHARED; i++) {
    CHECK(handles(b->keys[i]) >= 1 && pins(b->keys[i]) >= 0);
    left += handles(b->keys[i]) - 1 + pins(b->keys[i]);
    read_key(b, b->keys[i]);
  }
  CHECK(b->bad == 0);
  return left;
}

static void kill_worker(pid_t pid) {
  kill(pid, SIGKILL);
  CHECK(waitpid(pid, NULL, 0) == pid);
}

static void killed_at_random(void) {
  enum { ROUNDS = 15, THREADS = 2 };
  open_store();
  board *b = make_board();
  tm__pin old;
  CHECK(tm__store_pin(store, b->keys[0], &old, NULL) == TM_OK);
  for (int round = 0; round < ROUNDS; round++) {
    tm__ledger *l[2];
    pid_t pids[2];
    b->steps = 0;
    for (int i = 0; i < 2; i++) {
      l[i] = tm__ledger_new(arena);
      pids[i] = fork_worker(l[i], work, b);
    }
    while (b->steps < 400 + 37 * round) sched_yield();
    for (int i = 0; i < 2; i++) kill_worker(pids[i]);
    for (int i = 0; i < 2; i++) settle(pids[i], l[i]);
    CHECK(!memcmp(old.bytes, "kkkkkkkkkk", old.len));
  }
  empty_boxes(b);
  /* Each thread of each may have been in the middle of something. */
  int64_t most = ROUNDS * 2 * THREADS * LEAK;
  CHECK(leaked(b) <= most);
  CHECK(tm__store_count(store) <= SHARED + (size_t)most);
  tm__store_unpin(store, &old);
  close_store(false);
}

/* One of everything, in the same order each time. */
static void one_of_each(void *arg) {
  board *b = arg;
  holdings h = {0};
  if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(2);
  raise(SIGSTOP);
  change_handle(b, &h.keys[0], b->keys[0]);
  change_pin(b, &h.pins[0], b->keys[1]);
  send(b, 0, b->keys[0]);
  tm__msg *m = message(store, b->keys[2]);
  tm__msg_pass(m, store);
  tm__msg_unref(m, &heap, store);
  renew(b, b->keys[1], 'r');
  change_pin(b, &h.pins[0], b->keys[2]);
  change_handle(b, &h.keys[0], b->keys[1]);
  send(b, 0, b->keys[3]);
  tm__store_release(store, h.keys[0]);
  tm__store_unpin(store, &h.pins[0]);
}

/* Lets a stopped child do n instructions; answers how many it did: less when
   it ended before. */
static int step(pid_t pid, int n) {
  int status, done = 0;
  while (done < n && !ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) &&
         waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
    done++;
  return done;
}

/* Kills it after n instructions; answers as step, or -1 when the system does
   not let us look on. */
static int die_after(board *b, int n) {
  tm__ledger *l = tm__ledger_new(arena);
  int status;
  pid_t pid = fork_worker(l, one_of_each, b);
  CHECK(waitpid(pid, &status, 0) == pid);
  int done = WIFSTOPPED(status) ? step(pid, n) : -1;
  if (done == n) kill_worker(pid);
  settle(pid, l);
  empty_boxes(b);
  return done;
}

/* At points that lie evenly over all that the process does; a step costs the
   system some 10 us. */
static void killed_step_by_step(void) {
  const char *stress = getenv("TIDEMILL_STRESS");
  int points = !stress ? 12 : !strcmp(stress, "small") ? 3 : 120;
  enum { LIMIT = 40000 };
  open_store();
  board *b = make_board();
  int total = die_after(b, LIMIT);
  int64_t left = leaked(b);
  CHECK(left == 0 || total < 0 || total == LIMIT);
  for (int i = 1; i <= points && total > 0; i++) {
    size_t entries = tm__store_count(store);
    CHECK(die_after(b, (int)((int64_t)total * i / (points + 1))) > 0);
    int64_t now = leaked(b);
    CHECK(now - left <= LEAK);
    CHECK(tm__store_count(store) - entries <= LEAK);
    left = now;
  }
  close_store(false);
}

int main(void) {
  killed_at_random();
  killed_step_by_step();
  return check_done();
}
