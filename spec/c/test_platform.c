/* Tests of base/platform.h; cgroup trees are made in a folder of their own. */

#include "base/platform.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"

#define MIB ((uint64_t)1024 * 1024)

static char root[] = P_tmpdir "/tidemill-spec-XXXXXX";

/* Makes a file of the tree, and the folders it is in. */
static void put(const char *path, const char *text) {
  char full[PATH_MAX];
  snprintf(full, sizeof full, "%s%s", root, path);
  for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
    *p = '\0';
    mkdir(full, 0700);
  }
  FILE *f = fopen(full, "w");
  if (!CHECK(f != NULL)) return;
  fputs(text, f);
  fclose(f);
}

static void clear(void) {
  char command[sizeof root + 20];
  snprintf(command, sizeof command, "rm -rf %s/*", root);
  CHECK(system(command) == 0);
}

static tm__cpus cpus(int affinity) {
  tm__cpus c;
  tm__cpus_read_at(&c, root, affinity);
  return c;
}

static void put_v2(const char *group) {
  char line[200];
  snprintf(line, sizeof line, "0::%s\n", group);
  put("/proc/self/cgroup", line);
  put("/proc/self/mountinfo",
      "21 1 8:1 / / rw - ext4 /dev/root rw\n"
      "30 21 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
}

static void cpus_without_limits(void) {
  tm__cpus c = cpus(3);
  CHECK(c.usable == 3 && c.affinity == 3 && c.online >= 1);
  CHECK(c.quota <= 0);
  CHECK(!strcmp(c.why, "3 in the affinity mask"));
  CHECK(cpus(0).usable == 1);
}

static void cpus_of_version_2(void) {
  put_v2("/user/job");
  put("/sys/fs/cgroup/user/job/cpu.max", "max 100000\n");
  CHECK(cpus(4).usable == 4);
  put("/sys/fs/cgroup/user/job/cpu.max", "150000 100000\n");
  tm__cpus c = cpus(4);
  CHECK(c.usable == 2 && c.quota > 1.49 && c.quota < 1.51);
  CHECK(!strcmp(c.why, "cgroup quota of 1.5 CPUs"));
  CHECK(cpus(2).usable == 2);
  CHECK(!strcmp(cpus(1).why, "1 in the affinity mask"));
  put("/sys/fs/cgroup/user/cpu.max", "50000 100000\n");
  CHECK(cpus(4).usable == 1);
  put("/sys/fs/cgroup/user/cpu.max", "300000 100000\n");
  put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  CHECK(cpus(4).usable == 1);
  put("/sys/fs/cgroup/cpu.max", "nonsense\n");
  CHECK(cpus(4).usable == 2);
  clear();
}

static void cpus_of_version_1(void) {
  put("/proc/self/cgroup",
      "9:cpuset:/other\n4:cpu,cpuacct:/a/b\n2:memory:/m\n0::/\n");
  put("/proc/self/mountinfo",
      "31 21 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
      "32 21 0:28 / /cg/both rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n");
  put("/cg/both/a/b/cpu.cfs_quota_us", "-1\n");
  put("/cg/both/a/b/cpu.cfs_period_us", "100000\n");
  CHECK(cpus(8).usable == 8);
  put("/cg/both/a/cpu.cfs_quota_us", "250000\n");
  put("/cg/both/a/cpu.cfs_period_us", "50000\n");
  CHECK(cpus(8).usable == 5);
  put("/cg/both/a/b/cpu.cfs_quota_us", "200000\n");
  CHECK(cpus(8).usable == 2);
  clear();
}

/* A container: the mount shows a part of the hierarchy, or the path is
   outside of what is mounted. */
static void cpus_of_containers(void) {
  put("/proc/self/cgroup", "0::/docker/abc/inner\n");
  put("/proc/self/mountinfo",
      "30 21 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
  put("/sys/fs/cgroup/inner/cpu.max", "300000 100000\n");
  CHECK(cpus(8).usable == 3);
  put("/proc/self/cgroup", "0::/docker/abcd\n");
  put("/sys/fs/cgroup/cpu.max", "400000 100000\n");
  CHECK(cpus(8).usable == 4);
  put_v2("/../../elsewhere");
  CHECK(cpus(8).usable == 4);
  clear();
  put("/proc/self/cgroup", "3:cpu:/\n");
  put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  CHECK(cpus(8).usable == 1);
  clear();
}

static void memory_of_groups(void) {
  uint64_t all = tm__memory_limit_at(root);
  CHECK(all > 0);
  put_v2("/a/b");
  put("/sys/fs/cgroup/a/b/memory.max", "max\n");
  CHECK(tm__memory_limit_at(root) == all);
  put("/sys/fs/cgroup/a/memory.max", "33554432\n");
  CHECK(tm__memory_limit_at(root) == 32 * MIB);
  clear();
  put("/proc/self/cgroup", "2:memory:/m\n");
  put("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(tm__memory_limit_at(root) == all);
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "16777216\n");
  CHECK(tm__memory_limit_at(root) == 16 * MIB);
  clear();
}

static bool limit_space(void *arg) {
  (void)arg;
  struct rlimit limit = {4096 * MIB, 4096 * MIB};
  CHECK(!setrlimit(RLIMIT_AS, &limit));
  return tm__memory_limit() <= 4096 * MIB;
}

static bool keep_one_cpu(void *arg) {
  (void)arg;
  tm__mask all, one, now;
  tm__mask_get(&all);
  tm__mask_nth(&one, &all, 1000);
  tm__mask_set(&one);
  tm__mask_get(&now);
  CHECK(!memcmp(&one, &now, sizeof now));
  tm__cpus c;
  tm__cpus_read(&c);
  return c.affinity == 1 && c.usable == 1;
}

static void masks(void) {
  tm__mask all = {{0}}, one, none = {{0}};
  all.bits[0] = 0x16;
  tm__mask_nth(&one, &all, 0);
  CHECK(one.bits[0] == 0x2);
  tm__mask_nth(&one, &all, 2);
  CHECK(one.bits[0] == 0x10);
  tm__mask_nth(&one, &all, 4);
  CHECK(one.bits[0] == 0x4);
  tm__mask_nth(&one, &none, 1);
  CHECK(!memcmp(&one, &none, sizeof one));
  CHECK(tm__mask_index(&all, 1) == 0 && tm__mask_index(&all, 4) == 2);
  CHECK(tm__mask_index(&all, 3) == 2 && tm__mask_index(&all, 100000) == 3);
  CHECK(tm__mask_index(&all, -1) == 0 && tm__mask_index(&none, 7) == 0);
  tm__mask_set(&none);
  CHECK(check_child(keep_one_cpu, NULL));
}

static void real_figures(void) {
  tm__cpus c;
  tm__cpus_read(&c);
  CHECK(c.usable >= 1 && c.usable <= c.affinity && c.why[0]);
  CHECK(tm__page_size() >= 4096);
  uint64_t t = tm__now();
  CHECK(t > 0 && tm__now() >= t);
  CHECK(tm__entropy() != tm__entropy());
}

static bool entropy_in_child(void *arg) {
  *(_Atomic uint64_t *)arg = tm__entropy();
  return true;
}

static void entropy_after_fork(void) {
  void *base;
  int fd;
  CHECK(tm__shared_map(&base, &fd, 65536, NULL) == TM_OK);
  CHECK(check_child(entropy_in_child, base));
  CHECK(*(_Atomic uint64_t *)base != tm__entropy());
  tm__shared_unmap(base, fd, 65536);
}

static void futex_without_sleep(void) {
  _Atomic uint32_t word = 1;
  CHECK(tm__futex_wait(&word, 2, TM__FOREVER, false) == TM_OK);
  CHECK(tm__futex_wake(&word, 1, false) == 0);
  uint64_t t = tm__now();
  CHECK(tm__futex_wait(&word, 1, 2000000, false) == TM_ETIMEOUT);
  CHECK(tm__now() - t >= 2000000);
}

typedef struct sleeper {
  _Atomic uint32_t word;
  _Atomic int answer; /* 1: not yet */
} sleeper;

static void *sleep_once(void *arg) {
  sleeper *s = arg;
  s->answer = tm__futex_wait(&s->word, 0, TM__FOREVER, false);
  return NULL;
}

static void futex_between_threads(void) {
  sleeper s = {.answer = 1};
  pthread_t thread;
  pthread_create(&thread, NULL, sleep_once, &s);
  while (tm__futex_wake(&s.word, 1, false) == 0 && s.answer == 1) sched_yield();
  pthread_join(thread, NULL);
  CHECK(s.answer == TM_OK);
}

static void do_nothing(int number) { (void)number; }

static void futex_with_signal(void) {
  struct sigaction act = {.sa_handler = do_nothing}, old;
  sigaction(SIGURG, &act, &old);
  sleeper s = {.answer = 1};
  pthread_t thread;
  pthread_create(&thread, NULL, sleep_once, &s);
  while (s.answer == 1) {
    pthread_kill(thread, SIGURG);
    sched_yield();
  }
  pthread_join(thread, NULL);
  sigaction(SIGURG, &old, NULL);
  CHECK(s.answer == TM_ECANCELLED);
}

/* Passes the turn to and fro; a lost wake-up hangs. */
static bool take_turns(void *arg) {
  _Atomic uint32_t *turn = arg;
  for (uint32_t i = 1; i < 200; i += 2) {
    while (*turn != i) tm__futex_wait(turn, i - 1, TM__FOREVER, true);
    *turn = i + 1;
    tm__futex_wake(turn, 1, true);
  }
  return true;
}

static void *give_turns(void *arg) {
  _Atomic uint32_t *turn = arg;
  for (uint32_t i = 0; i < 200; i += 2) {
    while (*turn != i) tm__futex_wait(turn, i - 1, TM__FOREVER, true);
    *turn = i + 1;
    tm__futex_wake(turn, 1, true);
  }
  return NULL;
}

static void futex_between_processes(void) {
  void *base;
  int fd;
  CHECK(tm__shared_map(&base, &fd, 65536, NULL) == TM_OK);
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) _exit(take_turns(base) ? 0 : 1);
  give_turns(base);
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  CHECK(*(_Atomic uint32_t *)base == 200);
  tm__shared_unmap(base, fd, 65536);
}

static long long blocks_of(int fd) {
  struct stat st;
  return fstat(fd, &st) ? -1 : (long long)st.st_blocks;
}

static void shared_memory(void) {
  enum { SIZE = 1 << 20 };
  unsigned char *p;
  void *base;
  int fd;
  CHECK(tm__shared_map(&base, &fd, SIZE, NULL) == TM_OK);
  p = base;
  CHECK(p[0] == 0 && p[SIZE - 1] == 0);
  memset(p, 7, SIZE);
  CHECK(blocks_of(fd) == SIZE / 512);
  CHECK(tm__shared_release(base, fd, SIZE / 2, SIZE / 2) == TM_OK);
  CHECK(blocks_of(fd) == SIZE / 1024);
  CHECK(p[SIZE / 2 - 1] == 7 && p[SIZE / 2] == 0 && p[SIZE - 1] == 0);
  tm__shared_unmap(base, fd, SIZE);
  tm_error e = {0};
  CHECK(tm__shared_map(&base, &fd, SIZE_MAX / 4, &e) == e.code && e.code < 0);
  CHECK(strstr(e.text, "shared memory") != NULL);
}

/* ulimit -f: the system would send SIGXFSZ. */
static bool limit_files(void *arg) {
  (void)arg;
  struct rlimit limit = {65536, 65536};
  CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
  void *base;
  int fd;
  CHECK(tm__shared_map(&base, &fd, 131072, NULL) == TM_ESYS);
  return tm__shared_map(&base, &fd, 65536, NULL) == TM_OK;
}

static void *name_thread(void *arg) {
  char name[16];
  tm__thread_name("a name that is too long");
  pthread_getname_np(pthread_self(), name, sizeof name);
  CHECK(!strcmp(name, "a name that is "));
  return arg;
}

int main(void) {
  if (!mkdtemp(root)) return EXIT_FAILURE;
  cpus_without_limits();
  cpus_of_version_2();
  cpus_of_version_1();
  cpus_of_containers();
  memory_of_groups();
  CHECK(CHECK_SANITIZED || check_child(limit_space, NULL));
  masks();
  real_figures();
  entropy_after_fork();
  futex_without_sleep();
  futex_between_threads();
  futex_with_signal();
  futex_between_processes();
  shared_memory();
  CHECK(check_child(limit_files, NULL));
  pthread_t thread;
  pthread_create(&thread, NULL, name_thread, NULL);
  pthread_join(thread, NULL);
  CHECK(rmdir(root) == 0);
  return check_done();
}
