#include "base/platform.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define THREADS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREADS_SANITIZED 1
#endif
#endif

/*
 * Control groups
 *
 * A process is in one group of each hierarchy: /proc/self/cgroup has the
 * group's path, /proc/self/mountinfo where the hierarchy is mounted and which
 * part of it. Version 2 is one hierarchy, version 1 has one for each set of
 * controllers. A limit of any group between ours and the mount's top binds
 * us. A container often sees only a part of the hierarchy, and a path that is
 * outside of it; then the mount's top is all there is to read.
 */

/* One hierarchy: path is the mount point and the group below it, both below
   the tests' root; the first top bytes of it are the mount point. */
typedef struct hierarchy {
  char path[PATH_MAX];
  size_t top;
} hierarchy;

/* The files that hold a controller's limits, in either version. */
typedef struct controller {
  const char *name;
  const char *v2;        /* "LIMIT" or "LIMIT PERIOD"; LIMIT may be "max" */
  const char *v1;        /* LIMIT */
  const char *v1_period; /* PERIOD, or NULL */
  const char *v1_mount;  /* where it is usually mounted */
} controller;

static const controller CPU = {"cpu", "cpu.max", "cpu.cfs_quota_us",
                               "cpu.cfs_period_us", "/sys/fs/cgroup/cpu"};
static const controller MEMORY = {"memory", "memory.max",
                                  "memory.limit_in_bytes", NULL,
                                  "/sys/fs/cgroup/memory"};

static FILE *open_below(const char *root, const char *path) {
  char full[PATH_MAX];
  int n = snprintf(full, sizeof full, "%s%s", root, path);
  return n < (int)sizeof full ? fopen(full, "re") : NULL;
}

/* Whether name is one of the words of a comma-separated list. */
static bool listed(const char *list, const char *name) {
  size_t n = strlen(name);
  for (const char *p = list; p; p = strchr(p, ',')) {
    if (*p == ',') p++;
    if (!strncmp(p, name, n) && strchr(",\n", p[n])) return true;
  }
  return false;
}

/* Finds our group's path in a hierarchy; c is NULL for version 2. */
static bool find_group(const char *root, const controller *c, char *group) {
  FILE *f = open_below(root, "/proc/self/cgroup");
  if (!f) return false;
  char line[PATH_MAX];
  bool found = false;
  while (!found && fgets(line, sizeof line, f)) {
    char *names = strchr(line, ':');
    char *path = names ? strchr(names + 1, ':') : NULL;
    if (!path) continue;
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    found = c ? listed(names + 1, c->name) : names[1] == '\0';
    if (found) memmove(group, path, strlen(path) + 1);
  }
  fclose(f);
  return found;
}

/* Reads one line of mountinfo; answers whether it mounts the hierarchy. The
   line is cut into pieces in place. */
static bool parse_mount(char *line, const controller *c, char **part,
                        char **point) {
  char *tail = strstr(line, " - ");
  if (!tail) return false;
  *tail = '\0';
  char *save, *field = strtok_r(line, " ", &save);
  for (int i = 0; i < 3 && field; i++) field = strtok_r(NULL, " ", &save);
  *part = field;
  *point = strtok_r(NULL, " ", &save);
  char *type = strtok_r(tail + 3, " ", &save);
  char *source = strtok_r(NULL, " ", &save);
  char *options = strtok_r(NULL, " ", &save);
  if (!*part || !*point || !source || !options) return false;
  return c ? !strcmp(type, "cgroup") && listed(options, c->name)
           : !strcmp(type, "cgroup2");
}

/* Finds where a hierarchy is mounted, and which part of it. Without a mount
   table the usual places are taken. */
static void find_mount(const char *root, const controller *c, char *part,
                       char *point) {
  strcpy(part, "/");
  strcpy(point, c ? c->v1_mount : "/sys/fs/cgroup");
  FILE *f = open_below(root, "/proc/self/mountinfo");
  if (!f) return;
  char line[PATH_MAX], *p, *q;
  bool found = false;
  while (!found && fgets(line, sizeof line, f)) {
    found = parse_mount(line, c, &p, &q);
    if (!found) continue;
    memmove(part, p, strlen(p) + 1);
    memmove(point, q, strlen(q) + 1);
  }
  fclose(f);
}

/* The group's path as seen from the part that is mounted. */
static const char *below_part(const char *group, const char *part) {
  size_t n = strcmp(part, "/") ? strlen(part) : 0;
  if (strncmp(group, part, n) || (group[n] && group[n] != '/')) return "";
  return strstr(group, "/..") ? "" : group + n;
}

static bool find_hierarchy(const char *root, const controller *c,
                           hierarchy *h) {
  char group[PATH_MAX], part[PATH_MAX], point[PATH_MAX];
  if (!find_group(root, c, group)) return false;
  find_mount(root, c, part, point);
  h->top = strlen(root) + strlen(point);
  size_t n = strlen(below_part(group, part));
  if (h->top + n + NAME_MAX >= sizeof h->path) return false;
  strcpy(h->path, root);
  strcat(h->path, point);
  strcat(h->path, below_part(group, part));
  return true;
}

/* Reads up to two numbers from a file of the group; answers how many. */
static int read_numbers(hierarchy *h, const char *file, double *a, double *b) {
  size_t n = strlen(h->path);
  snprintf(h->path + n, sizeof h->path - n, "/%s", file);
  FILE *f = fopen(h->path, "re");
  h->path[n] = '\0';
  if (!f) return 0;
  int count = fscanf(f, "%lf %lf", a, b);
  fclose(f);
  return count;
}

/* The limit that one group sets, over its period where there is one;
   0: none. */
static double group_limit(hierarchy *h, const controller *c, bool v2) {
  double limit = 0, period = 0, ignored;
  int n = read_numbers(h, v2 ? c->v2 : c->v1, &limit, &period);
  if (n < 1 || limit <= 0) return 0;
  if (!c->v1_period) return limit;
  if (!v2) n = 1 + read_numbers(h, c->v1_period, &period, &ignored);
  return n > 1 && period > 0 ? limit / period : 0;
}

/* The least limit of all groups from ours to the top; 0: none. */
static double hierarchy_limit(const char *root, const controller *c, bool v2) {
  hierarchy h;
  double least = 0;
  if (!find_hierarchy(root, v2 ? NULL : c, &h)) return 0;
  for (;;) {
    double limit = group_limit(&h, c, v2);
    if (limit > 0 && (least <= 0 || limit < least)) least = limit;
    if (strlen(h.path) <= h.top) return least;
    char *slash = strrchr(h.path, '/');
    *slash = '\0';
  }
}

/* Both versions may be mounted side by side, each with some controllers. */
static double cgroup_limit(const char *root, const controller *c) {
  double one = hierarchy_limit(root, c, false);
  double two = hierarchy_limit(root, c, true);
  return one > 0 && (two <= 0 || one < two) ? one : two;
}

void tm__cpus_read_at(tm__cpus *out, const char *root, int affinity) {
  *out = (tm__cpus){.online = (int)sysconf(_SC_NPROCESSORS_ONLN)};
  if (out->online < 1) out->online = 1;
  out->affinity = affinity > 0 ? affinity : 1;
  out->quota = cgroup_limit(root, &CPU);
  if (out->quota > 0 && out->quota <= out->affinity - 1) {
    out->usable = (int)out->quota;
    if (out->usable < out->quota) out->usable++;
    snprintf(out->why, sizeof out->why, "cgroup quota of %.3g CPU%s",
             out->quota, out->quota > 1 ? "s" : "");
  } else {
    out->usable = out->affinity;
    snprintf(out->why, sizeof out->why, "%d in the affinity mask",
             out->affinity);
  }
}

void tm__cpus_read(tm__cpus *out) {
  /* As large as any kernel's mask: a smaller one would be refused. */
  cpu_set_t set[8];
  int n = 0;
  if (!sched_getaffinity(0, sizeof set, set)) n = CPU_COUNT_S(sizeof set, set);
  if (n == 0) n = (int)sysconf(_SC_NPROCESSORS_ONLN);
  tm__cpus_read_at(out, "", n);
}

uint64_t tm__memory_limit_at(const char *root) {
  uint64_t limit =
      (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)tm__page_size();
  double group = cgroup_limit(root, &MEMORY);
  if (group > 0 && group < (double)limit) limit = (uint64_t)group;
  struct rlimit space;
  if (!getrlimit(RLIMIT_AS, &space) && space.rlim_cur < limit)
    limit = space.rlim_cur;
  return limit;
}

uint64_t tm__memory_limit(void) { return tm__memory_limit_at(""); }

/* The tool's own part in the program is loaded so. */
bool tm__in_valgrind(void) {
  const char *preload = getenv("LD_PRELOAD");
  return preload && strstr(preload, "vgpreload");
}

static _Atomic int32_t process;

static void note_process(void) { atomic_store(&process, getpid()); }

static void follow_forks(void) { pthread_atfork(NULL, NULL, note_process); }

int32_t tm__pid(void) {
  /* relaxed: it is the same from any thread */
  int32_t pid = atomic_load_explicit(&process, memory_order_relaxed);
  if (pid) return pid;
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, follow_forks);
  note_process();
  return tm__pid();
}

size_t tm__page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

uint64_t tm__now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t tm__now_coarse(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t tm__entropy(void) {
  uint64_t x;
  if (getrandom(&x, sizeof x, GRND_NONBLOCK) == (ssize_t)sizeof x) return x;
  /* Early at boot: splitmix64 of what differs. */
  x = tm__now() ^ (uint64_t)syscall(SYS_gettid) << 40;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

int tm__futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout,
                   bool shared) {
  struct timespec t = {.tv_sec = (time_t)(timeout / 1000000000u),
                       .tv_nsec = (long)(timeout % 1000000000u)};
  int op = shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE;
  if (!syscall(SYS_futex, word, op, expected,
               timeout == TM__FOREVER ? NULL : &t, NULL, 0))
    return TM_OK;
  if (errno == ETIMEDOUT) return TM_ETIMEOUT;
  return errno == EINTR ? TM_ECANCELLED : TM_OK;
}

int tm__futex_wake(_Atomic uint32_t *word, int count, bool shared) {
  int op = shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE;
  long n = syscall(SYS_futex, word, op, count, NULL, NULL, 0);
  return n > 0 ? (int)n : 0;
}

int tm__futex_wait_as(_Atomic uint32_t *word, uint32_t expected,
                      uint32_t bits) {
  if (!syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, NULL, NULL,
               bits))
    return TM_OK;
  return errno == EINTR ? TM_ECANCELLED : TM_OK;
}

int tm__futex_wake_some(_Atomic uint32_t *word, int count, uint32_t bits) {
  long n = syscall(SYS_futex, word, FUTEX_WAKE_BITSET_PRIVATE, count, NULL,
                   NULL, bits);
  return n > 0 ? (int)n : 0;
}

int tm__cpu(void) { return sched_getcpu(); }

_Static_assert(sizeof(tm__mask) == sizeof(cpu_set_t), "a mask is a cpu_set_t");

static bool is_ours(const char *task) {
  char path[64], name[32] = "";
  snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", task);
  FILE *f = fopen(path, "re");
  if (!f) return true; /* it has ended */
  if (!fgets(name, sizeof name, f)) name[0] = '\0';
  fclose(f);
  return strncmp(name, "tm-", 3) == 0;
}

int tm__foreign_threads(void) {
  int count = 0;
  long self = syscall(SYS_gettid);
  DIR *tasks = opendir("/proc/self/task");
  struct dirent *entry;
  while (tasks && (entry = readdir(tasks)))
    if (entry->d_name[0] != '.' && atol(entry->d_name) != self)
      count += !is_ours(entry->d_name);
  if (tasks) closedir(tasks);
  return count;
}

void tm__mask_get(tm__mask *out) {
  cpu_set_t set;
  CPU_ZERO(&set);
  /* An empty mask when it is refused: setting that one changes nothing. */
  if (sched_getaffinity(0, sizeof set, &set)) CPU_ZERO(&set);
  memcpy(out, &set, sizeof set);
}

void tm__mask_set(const tm__mask *mask) {
  cpu_set_t set;
  memcpy(&set, mask, sizeof set);
  sched_setaffinity(0, sizeof set, &set);
}

void tm__mask_nth(tm__mask *out, const tm__mask *all, int index) {
  cpu_set_t from, to;
  memcpy(&from, all, sizeof from);
  CPU_ZERO(&to);
  int count = CPU_COUNT(&from);
  if (count > 0) index %= count;
  for (size_t cpu = 0; count > 0 && cpu < 8 * sizeof from; cpu++) {
    if (!CPU_ISSET(cpu, &from) || index-- > 0) continue;
    CPU_SET(cpu, &to);
    break;
  }
  memcpy(out, &to, sizeof to);
}

int tm__mask_index(const tm__mask *all, int cpu) {
  int index = 0;
  for (size_t i = 0; cpu > 0 && i < (size_t)cpu && i < 8 * sizeof *all; i++)
    index += CPU_ISSET(i, (const cpu_set_t *)all) != 0;
  return index;
}

/* A hint: a place that programs and libraries of 64-bit systems leave free, so
   that a process that is started later can map the region at the same
   address. For children made by fork any address will do. */
static void *likely_address(void) {
#if UINTPTR_MAX > UINT32_MAX && defined(THREADS_SANITIZED)
  /* It leaves programs few places. */
  return (void *)(uintptr_t)(0x7e8000000000u + ((tm__entropy() & 0x3f) << 32));
#elif UINTPTR_MAX > UINT32_MAX
  return (void *)(uintptr_t)(0x200000000000u + ((tm__entropy() & 0xfff) << 32));
#else
  return NULL;
#endif
}

/* Past this limit the system would send SIGXFSZ, which kills. */
static bool within_file_limit(size_t size) {
  struct rlimit file;
  if (getrlimit(RLIMIT_FSIZE, &file) || file.rlim_cur >= size) return true;
  errno = EFBIG;
  return false;
}

int tm__shared_map(void **base, int *fd, size_t size, tm_error *e) {
  int file = memfd_create("tidemill", MFD_CLOEXEC);
  if (file < 0) return tm__fail_errno(e, "cannot make shared memory");
  if (!within_file_limit(size) || ftruncate(file, (off_t)size)) goto fail;
  void *p = mmap(likely_address(), size, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_NORESERVE, file, 0);
  if (p == MAP_FAILED) goto fail;
  *base = p;
  *fd = file;
  return TM_OK;
fail:;
  int status = tm__fail_errno(e, "cannot map %zu bytes of shared memory", size);
  close(file);
  return status;
}

/* Reading past the end of a file would kill. */
static bool file_has(int fd, size_t size) {
  struct stat st;
  if (fstat(fd, &st)) return false;
  errno = EINVAL;
  return (uint64_t)st.st_size >= size;
}

int tm__shared_attach(void *base, int fd, size_t size, tm_error *e) {
  if (!file_has(fd, size) || fcntl(fd, F_SETFD, FD_CLOEXEC))
    return tm__fail_errno(e, "cannot attach shared memory at descriptor %d",
                          fd);
  void *p = mmap(base, size, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);
  if (p == base) return TM_OK;
  /* A kernel before 4.17 takes the address for a hint. */
  if (p != MAP_FAILED) {
    munmap(p, size);
    errno = EEXIST;
  }
  return tm__fail_errno(e,
                        "cannot map shared memory at %p, where the process "
                        "that made it has it",
                        base);
}

void tm__shared_unmap(void *base, int fd, size_t size) {
  munmap(base, size);
  if (fd >= 0) close(fd);
}

int tm__shared_release(void *base, int fd, size_t offset, size_t size) {
  int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (!fallocate(fd, punch, (off_t)offset, (off_t)size)) return TM_OK;
  /* A sandbox may refuse the first and know the second. */
  if (!madvise((char *)base + offset, size, MADV_REMOVE)) return TM_OK;
  return TM_ESYS;
}

void tm__thread_name(const char *name) { prctl(PR_SET_NAME, name); }

/* A thread has its maker's name at first. To name another costs as much as to
   start it: it goes by way of a file. */
int tm__thread_start(pthread_t *out, const char *name, void *(*main)(void *),
                     void *argument) {
  char own[16];
  bool named = prctl(PR_GET_NAME, own) == 0;
  tm__thread_name(name);
  /* the thread itself may look at *out: it is there before it runs */
  int error = pthread_create(out, NULL, main, argument);
  if (named) tm__thread_name(own);
  return error;
}

bool tm__signals_prompt(void) {
#ifdef THREADS_SANITIZED
  return false;
#else
  return true;
#endif
}
