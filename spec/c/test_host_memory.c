/*
 * test_host_memory.c: an allocation fails at each point of each public call
 *
 * The error comes back, nothing leaks, and the runtime works afterwards.
 */
#include "host.h"

static heap h;

static void fail_from(long request, bool lasting) {
  atomic_store(&h.requests, 0);
  atomic_store(&h.lasting, lasting);
  atomic_store(&h.fail_at, request);
}

/* ---- runtimes ---- */

static void test_runtime(bool lasting) {
  int status = TM_ENOMEM;
  for (long k = 1; status; k++) {
    tm_runtime *rt;
    tm_config c;
    tm_config_init(&c);
    c.alloc = heap_alloc;
    c.alloc_user = &h;
    c.arena_size = 1 << 22;
    c.command = "tidemill";
    fail_from(k, lasting);
    status = tm_runtime_new(&rt, &c, &err);
    fail_from(0, false);
    CHECK((status == TM_OK && rt) ||
          (status == TM_ENOMEM && !rt && err.code == TM_ENOMEM));
    tm_runtime_free(rt);
    CHECK(h.live == 0);
  }
}

/* ---- what is done in one ---- */

static int pools(tm_runtime *rt) {
  tm_pool *pool;
  tm_error e;
  int status = tm_pool_new(&pool, rt, NULL, &e);
  CHECK(!status || (!pool && e.code == status && e.text[0]));
  tm_pool_free(pool);
  return status;
}

static int arrays(tm_runtime *rt) {
  static double mine[8];
  int64_t n = 8;
  tm_array *a = NULL, *b = NULL;
  int status = tm_array_new(&a, rt, TM_F64, 1, &n, NULL);
  if (!status)
    status = tm_array_wrap(&b, rt, mine, TM_F64, 1, &n, 0, NULL, NULL, NULL);
  CHECK(!status || !b);
  tm_array_release(a);
  tm_array_release(b);
  return status;
}

static int store(tm_runtime *rt) {
  tm_key key = 0, counter = 0;
  int status = tm_store_put(&key, rt, "abc", 3, NULL);
  if (!status) status = tm_store_update(rt, key, "d", 1, NULL);
  if (!status) status = tm_counter_new(&counter, rt, NULL);
  if (key) tm_store_remove(rt, key, NULL);
  if (counter) tm_store_remove(rt, counter, NULL);
  return status;
}

static tm_pool *shared; /* made before anything fails */

/* A kernel fails for want of memory too: for its scratch, its blocks. */
static int runs(tm_runtime *rt) {
  int64_t n = 300, out[300];
  double sum;
  tm_array *a = NULL;
  int status = tm_array_new(&a, rt, TM_F64, 1, &n, NULL);
  tm_value arg = tm_array_value(a);
  if (!status)
    status = tm_pool_run(shared, "total", n, &arg, 1, &sum, 8, NULL, NULL);
  if (!status)
    status = tm_pool_map(shared, square, NULL, n, NULL, 0, out, 8, NULL, NULL);
  tm_array_release(a);
  return status;
}

static int jobs(tm_runtime *rt) {
  int64_t n = 300, out[300];
  double sum;
  tm_job *j = NULL, *k = NULL;
  tm_array *a = NULL;
  int status = tm_array_new(&a, rt, TM_F64, 1, &n, NULL), other = TM_OK;
  tm_value arg = tm_array_value(a);
  if (!status)
    status = tm_pool_run_async(&j, shared, "total", n, &arg, 1, NULL, NULL);
  if (!status)
    status = tm_pool_map_async(&k, shared, square, NULL, n, NULL, 0, out, 8,
                               NULL, NULL);
  if (j) tm_job_wait(j, TM_FOREVER);
  if (k) tm_job_wait(k, TM_FOREVER);
  if (j) other = tm_job_result(j, &sum, 8, NULL);
  if (!status) status = other;
  if (k && !status) status = tm_job_error(k, NULL);
  tm_job_free(j);
  tm_job_free(k);
  tm_array_release(a);
  return status;
}

static int script_new(tm_runtime *rt) {
  tm_script *s;
  tm_error e;
  int status = tm_script_new(&s, rt, 0, &e);
  CHECK(!status || (!s && e.text[0]));
  tm_script_free(s);
  return status;
}

static tm_script *script;

static int twice(void *user, const tm_value *args, int nargs, tm_value *results,
                 int most, tm_error *e) {
  (void)user;
  (void)nargs;
  (void)most;
  (void)e;
  results[0] = args[0];
  return 1;
}

static int scripts(tm_runtime *rt) {
  int64_t n = 4;
  tm_value v;
  tm_array *a = NULL;
  int status = tm_array_new(&a, rt, TM_F64, 1, &n, NULL);
  tm_value args[] = {tm_array_value(a), tm_string("some text to copy")};
  if (!status) status = tm_script_set(script, "a", args[0], NULL);
  if (!status)
    status = tm_script_run_string(
        script, "local b, text = ...\nreturn twice(a), text:rep(50), b, {}",
        NULL, args, 2, NULL);
  if (!status) status = tm_script_get(script, "a", &v, NULL);
  if (!status) status = tm_script_call(script, "string.len", args + 1, 1, NULL);
  tm_array_release(a);
  return status;
}

static int callbacks(tm_runtime *rt) {
  (void)rt;
  int fd = tm_script_fd(script);
  if (fd < 0) return fd;
  return tm_script_poll(script, NULL, NULL);
}

static int settings(tm_runtime *rt) {
  int status = tm_setting_set(rt, "log_file", tm_string("/dev/null"), NULL);
  if (!status) status = tm_setting_set(rt, "log_file", tm_nil(), NULL);
  return status;
}

typedef int (*scenario_fn)(tm_runtime *rt);

static void sweep(tm_runtime *rt, scenario_fn scenario, const char *name,
                  bool lasting) {
  if (!CHECK(scenario(rt) == TM_OK)) fprintf(stderr, "%s\n", name);
  for (long k = 1;; k++) {
    fail_from(k, lasting);
    int status = scenario(rt);
    bool reached = atomic_load(&h.requests) >= k;
    fail_from(0, false);
    if (!CHECK(status == TM_OK || status == TM_ENOMEM))
      fprintf(stderr, "%s, request %ld: %s\n", name, k, tm_status_name(status));
    if (!CHECK(scenario(rt) == TM_OK))
      fprintf(stderr, "%s does not work after request %ld failed\n", name, k);
    if (!reached) return;
  }
}

static void test_calls(bool lasting) {
  static const struct {
    scenario_fn run;
    const char *name;
  } all[] = {{pools, "pools"},      {arrays, "arrays"},
             {store, "store"},      {runs, "runs"},
             {jobs, "jobs"},        {script_new, "script_new"},
             {scripts, "scripts"},  {callbacks, "callbacks"},
             {settings, "settings"}};
  tm_runtime *rt = new_runtime(&h);
  register_kernels(rt);
  shared = new_pool(rt, TM_POOL_THREAD);
  WELL(tm_script_new(&script, rt, 0, &err));
  WELL(tm_script_set_function(script, "twice", twice, NULL, &err));
  WELL(tm_script_run_string(script, "require 'tidemill'", NULL, NULL, 0, &err));
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    sweep(rt, all[i].run, all[i].name, lasting);
  tm_script_free(script);
  tm_pool_free(shared);
  tm_runtime_free(rt);
  CHECK(h.live == 0);
}

/* Kernels are registered once: each attempt has a name of its own. */
static void test_register(void) {
  int status = TM_ENOMEM;
  tm_runtime *rt = new_runtime(&h);
  for (long k = 1; status; k++) {
    tm_kernel kernel = kernels[1];
    fail_from(k, true);
    status = tm_kernel_register(rt, &kernel, &err);
    fail_from(0, false);
    CHECK(status == TM_OK || status == TM_ENOMEM);
  }
  tm_runtime_free(rt);
  CHECK(h.live == 0);
}

int main(void) {
  for (int lasting = 0; lasting < 2; lasting++) {
    test_runtime(lasting);
    test_calls(lasting);
  }
  test_register();
  return check_done();
}
