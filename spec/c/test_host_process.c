/*
 * test_host_process.c: kernels on worker processes from C
 */
#include "host.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

static int kill_at(const tm_call *c, const tm_arg *args) {
  if (c->first == args[0].i) kill(getpid(), SIGKILL);
  return 0;
}

static const tm_kernel killer = TM_ITEM(kill_at, "i64 at");

static int end_worker(const tm_call *c, const tm_arg *args) {
  (void)c;
  (void)args;
  return kill(getpid(), SIGKILL);
}

static const tm_kernel ender = TM_ITEM(end_worker, "");

static tm_runtime *make_runtime(int start_method) {
  tm_runtime *rt = NULL;
  tm_config c;
  tm_config_init(&c);
  c.processes = 2;
  c.start_method = start_method;
  WELL(tm_runtime_new(&rt, &c, &err));
  register_kernels(rt);
  WELL(tm_kernel_register(rt, &killer, &err));
  WELL(tm_kernel_register(rt, &ender, &err));
  return rt;
}

static tm_pool *make_pool(tm_runtime *rt, int kind) {
  tm_pool *pool = NULL;
  tm_pool_options o;
  tm_pool_options_init(&o);
  o.kind = kind;
  WELL(tm_pool_new(&pool, rt, &o, &err));
  return pool;
}

static void end_pool(tm_pool *pool) {
  WELL(tm_pool_close(pool, &err));
  WELL(tm_pool_join(pool, TM_FOREVER, &err));
  tm_pool_free(pool);
}

/* A job that is done keeps its arrays for no longer than a moment. */
static void test_lets_go(tm_runtime *rt, tm_pool *pool) {
  tm_array *x = numbers(rt, 1000);
  tm_value arg = tm_array_value(x);
  double sum;
  WELL(tm_pool_run(pool, "total", 1000, &arg, 1, &sum, sizeof sum, NULL, &err));
  tm_array_release(x);
  for (int i = 0; i < 1000 && tm_store_count(rt); i++) poll(NULL, 0, 10);
  CHECK(tm_store_count(rt) == 0);
}

static void test_same_bits_as_threads(tm_runtime *rt, tm_pool *pool) {
  enum { N = 20000 };
  double there = 0, here = 0;
  tm_pool *threads = make_pool(rt, TM_POOL_THREAD);
  tm_array *x = numbers(rt, N), *y = numbers(rt, N);
  tm_value args[] = {tm_array_value(y), tm_array_value(x), tm_number(0.1)};
  WELL(
      tm_pool_run(pool, "total", N, args, 1, &there, sizeof there, NULL, &err));
  WELL(tm_pool_run(threads, "total", N, args, 1, &here, sizeof here, NULL,
                   &err));
  CHECK(memcmp(&there, &here, sizeof here) == 0);
  CHECK(there == (double)N * (N - 1) / 2);
  end_pool(threads);
  tm_array_release(x);
  tm_array_release(y);
}

static void test_writes_are_seen(tm_runtime *rt, tm_pool *pool) {
  enum { N = 5000 };
  tm_array *x = numbers(rt, N), *y = numbers(rt, N);
  tm_value args[] = {tm_array_value(y), tm_array_value(x), tm_integer(2)};
  WELL(tm_pool_run(pool, "axpy", N, args, 3, NULL, 0, NULL, &err));
  const double *at = tm_array_data(y);
  bool right = true;
  for (int i = 0; i < N; i++) right = right && at[i] == 3.0 * i;
  CHECK(right);
  tm_array_release(x);
  tm_array_release(y);
}

static void test_async_by_descriptor(tm_runtime *rt, tm_pool *pool) {
  struct pollfd p = {.fd = tm_fd(rt), .events = POLLIN};
  tm_array *x = numbers(rt, 100);
  tm_value arg = tm_array_value(x);
  double sum = 0;
  tm_job *job;
  CHECK(p.fd >= 0);
  WELL(tm_pool_run_async(&job, pool, "total", 100, &arg, 1, NULL, &err));
  while (!tm_job_poll(job)) {
    CHECK(poll(&p, 1, 60000) == 1);
    CHECK(tm_poll(rt) >= 0);
  }
  WELL(tm_job_result(job, &sum, sizeof sum, &err));
  CHECK(sum == 99 * 100 / 2);
  tm_job_free(job);
  tm_array_release(x);
}

static void test_failures(tm_pool *pool) {
  FAILS(tm_pool_run(pool, "refuse_7", 100, NULL, 0, NULL, 0, NULL, &err),
        TM_EKERNEL, "item 7: seven is too much");
  FAILS(tm_pool_map(pool, square, NULL, 3, NULL, 0, NULL, 0, NULL, &err),
        TM_EINVAL, "use threads");
}

static void test_death(tm_pool *pool) {
  tm_value at = tm_integer(3);
  FAILS(tm_pool_run(pool, "kill_at", 10, &at, 1, NULL, 0, NULL, &err), TM_EDIED,
        "SIGKILL");
  at = tm_integer(-1);
  WELL(tm_pool_run(pool, "kill_at", 10, &at, 1, NULL, 0, NULL, &err));
}

/* Then the system tells nobody how a child ended. */
static void test_ignored_children(tm_pool *pool) {
  tm_value at = tm_integer(3);
  signal(SIGCHLD, SIG_IGN);
  FAILS(tm_pool_run(pool, "kill_at", 10, &at, 1, NULL, 0, NULL, &err), TM_EDIED,
        "how is not known");
  signal(SIGCHLD, SIG_DFL);
}

/* One job more than there are workers, and how that one ends. */
static void *run_elsewhere(void *pool) {
  static tm_error e;
  tm_job *jobs[3];
  for (int i = 0; i < 3; i++)
    if (tm_pool_run_async(&jobs[i], pool, "end_worker", 1, NULL, 0, NULL, &e))
      return e.text;
  for (int i = 0; i < 3; i++) {
    tm_job_wait(jobs[i], 20);
    CHECK(tm_job_result(jobs[i], NULL, 0, &e) == TM_EDIED);
    tm_job_free(jobs[i]);
  }
  return e.text;
}

/* The thread that starts workers waits for one that waits for them. */
static void test_death_of_all(tm_pool *pool) {
  pthread_t thread;
  void *text = "";
  CHECK(pthread_create(&thread, NULL, run_elsewhere, pool) == 0);
  pthread_join(thread, &text);
  CHECK(strstr(text, "the thread that made the pool"));
  test_death(pool);
}

static void forget(void *user, void *data) {
  (void)data;
  *(bool *)user = true;
}

static void test_own_memory(tm_runtime *rt, tm_pool *pool) {
  static double own[8];
  bool gone = false;
  int64_t shape = 8;
  tm_array *x = NULL;
  WELL(tm_array_wrap(&x, rt, own, TM_F64, 1, &shape, 0, forget, &gone, &err));
  tm_value arg = tm_array_value(x);
  double sum = 0;
  FAILS(tm_pool_run(pool, "total", 8, &arg, 1, &sum, sizeof sum, NULL, &err),
        TM_EINVAL, "kernel 'total': argument 1 'x' is memory of the host's");
  tm_array_release(x);
  CHECK(gone);
}

/* ---- workers that are forked from a script ---- */

#define RUN(s, code) WELL(tm_script_run_string(s, code, NULL, NULL, 0, &err))

static bool said(tm_script *s, const char *text) {
  tm_value v = tm_script_result(s, 0);
  return v.type == TM_STRING && strcmp(v.as.string.text, text) == 0;
}

static tm_script *make_script(tm_runtime *rt) {
  tm_script *s = NULL;
  WELL(tm_script_new(&s, rt, 0, &err));
  RUN(s, "tm = require 'tidemill'\n"
         "name = ''\n"
         "function named() return name end\n"
         "function die() os.execute('kill -9 $PPID') while true do end end");
  return s;
}

/* The shared pool of a script that has ended is nobody's any more. */
static void test_pool_of_another_script(void) {
  tm_runtime *rt = make_runtime(TM_START_FORK);
  tm_script *s = make_script(rt);
  RUN(s, "name = 'one' return tm.process_pool():apply(named)");
  CHECK(said(s, "one"));
  tm_script_free(s);
  s = make_script(rt);
  RUN(s, "name = 'two' return tm.process_pool():apply(named)");
  CHECK(said(s, "two"));
  RUN(s, "return select(2, pcall(function()\n"
         "  tm.process_pool():apply(die) end)).kind");
  CHECK(said(s, "worker_died"));
  RUN(s, "return tm.process_pool():apply(named)");
  CHECK(said(s, "two"));
  tm_script_free(s);
  tm_runtime_free(rt);
}

/* What is left of it is done by the workers that it has, and by no others. */
static void test_last_jobs_of_a_script(void) {
  tm_runtime *rt = make_runtime(TM_START_FORK);
  tm_script *maker = make_script(rt), *user = make_script(rt);
  RUN(maker, "tm.process_pool():apply(named)");
  RUN(user, "go = tm.Counter(1 << 40, '{}')\n"
            "local go = go\n"
            "pool = tm.process_pool()\n"
            "job = pool:map_async(function(i)\n"
            "  while go:value() == 0 do end\n"
            "  if i <= 2 then die() end\n"
            "end, tm.range(3), {chunksize = 1, errors = 'collect'})");
  tm_script_free(maker);
  RUN(user, "go:increment() return job:get()[3].message");
  CHECK(said(user, "the script that made the pool has ended"));
  RUN(user, "return tostring(select(2, pcall(pool.apply, pool, named)))");
  CHECK(strstr(tm_script_result(user, 0).as.string.text, "closed"));
  tm_script_free(user);
  tm_runtime_free(rt);
}

static void test_spawned(void) {
  tm_runtime *rt = make_runtime(TM_START_SPAWN);
  tm_pool *pool = NULL;
  tm_pool_options o;
  tm_pool_options_init(&o);
  o.kind = TM_POOL_PROCESS;
  if (tm_pool_new(&pool, rt, &o, &err) == TM_OK) {
    FAILS(tm_pool_run(pool, "refuse_7", 3, NULL, 0, NULL, 0, NULL, &err),
          TM_EKERNEL, "host");
    end_pool(pool);
  } else { /* the command is not beside the test */
    CHECK(strstr(err.text, "tidemill") && strstr(err.text, "tm_config.comm"));
  }
  tm_runtime_free(rt);
}

static const char library[] =
    "#include <tidemill_kernel.h>\n"
    "static int inc(const tm_call *c, const tm_arg *a) {\n"
    "  for (int64_t i = c->first; i < c->last; i++) a[0].f64[i] += 1;\n"
    "  return 0;\n"
    "}\n"
    "TM_KERNELS(TM_RANGE(inc, \"f64[#] x\"));\n";

/* A shared library of kernels in a folder, which ends in its path. */
static bool make_library(char *path, size_t size, const char *folder) {
  char command[256];
  snprintf(path, size, "%s/inc.so", folder);
  snprintf(command, sizeof command, "cc -shared -fPIC -Iinclude -x c -o %s -",
           path);
  FILE *compiler = popen(command, "w");
  if (!CHECK(compiler)) return false;
  fputs(library, compiler);
  return CHECK(pclose(compiler) == 0);
}

/* Workers that were there before the library find it, too. */
static void use_library(int start_method, const char *path) {
  tm_runtime *rt = NULL;
  tm_config c;
  tm_config_init(&c);
  c.processes = 2;
  c.start_method = start_method;
  c.command = getenv("TIDEMILL");
  WELL(tm_runtime_new(&rt, &c, &err));
  tm_pool *pool = make_pool(rt, TM_POOL_PROCESS);
  tm_array *x = numbers(rt, 1000);
  tm_value arg = tm_array_value(x);
  WELL(tm_kernel_load(rt, path, &err));
  WELL(tm_pool_run(pool, "inc", 1000, &arg, 1, NULL, 0, NULL, &err));
  CHECK(((double *)tm_array_data(x))[999] == 1000);
  FAILS(tm_kernel_load(rt, path, &err), TM_EINVAL, "kernel 'inc'");
  tm_array_release(x);
  end_pool(pool);
  tm_runtime_free(rt);
}

static void test_libraries(int forks) {
  char folder[] = "/tmp/tidemill_XXXXXX", path[64];
  if (!CHECK(mkdtemp(folder))) return;
  if (make_library(path, sizeof path, folder)) {
    if (getenv("TIDEMILL")) use_library(TM_START_SPAWN, path);
    if (forks) use_library(TM_START_FORK, path);
  }
  remove(path);
  remove(folder);
}

static void test_forked(void) {
  tm_runtime *rt = make_runtime(TM_START_FORK);
  tm_pool *pool = make_pool(rt, TM_POOL_PROCESS);
  test_lets_go(rt, pool);
  test_same_bits_as_threads(rt, pool);
  test_writes_are_seen(rt, pool);
  test_async_by_descriptor(rt, pool);
  test_failures(pool);
  test_death(pool);
  test_ignored_children(pool);
  test_death_of_all(pool);
  test_own_memory(rt, pool);
  end_pool(pool);
  tm_runtime_free(rt);
}

/* The thread sanitizer loses sight of the threads of a child. */
#if defined(__SANITIZE_THREAD__)
enum { FORKS = 0 };
#else
enum { FORKS = 2 };
#endif

int main(void) {
  test_spawned();
  test_libraries(FORKS);
  for (int i = 0; i < FORKS; i++) {
    test_forked();
    test_pool_of_another_script();
    test_last_jobs_of_a_script();
  }
  CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
  return check_done();
}
