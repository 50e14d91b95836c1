/*
 * test_host_misuse.c: what callers get wrong is answered with a code
 */
#include "host.h"

static tm_runtime *rt;
static tm_pool *pool;
static tm_script *script;

/* NULL where an object is needed. Texts say which function. */
static void test_null(void) {
  tm_value v = tm_nil();
  tm_script *s;
#define NULLS(call, name) FAILS(call, TM_EINVAL, name ": a null argument")
  NULLS(tm_runtime_close(NULL, &err), "tm_runtime_close");
  NULLS(tm_log(NULL, 1, "x", &err), "tm_log");
  NULLS(tm_log(rt, 1, NULL, &err), "tm_log");
  NULLS(tm_setting_get(NULL, "pin", &v, &err), "tm_setting_get");
  NULLS(tm_setting_get(rt, NULL, &v, &err), "tm_setting_get");
  NULLS(tm_setting_get(rt, "pin", NULL, &err), "tm_setting_get");
  NULLS(tm_setting_set(rt, NULL, v, &err), "tm_setting_set");
  NULLS(tm_script_new(&s, NULL, 0, &err), "tm_script_new");
  NULLS(tm_script_new(NULL, rt, 0, &err), "tm_script_new");
  NULLS(tm_script_run_file(NULL, "x", NULL, 0, &err), "tm_script_run_file");
  NULLS(tm_script_run_file(script, NULL, NULL, 0, &err), "tm_script_run_file");
  NULLS(tm_script_run_string(script, NULL, NULL, NULL, 0, &err),
        "tm_script_run_string");
  NULLS(tm_script_run_string(script, "", NULL, NULL, 2, &err),
        "tm_script_run_string");
  NULLS(tm_script_call(script, NULL, NULL, 0, &err), "tm_script_call");
  NULLS(tm_script_get(NULL, "x", &v, &err), "tm_script_get");
  NULLS(tm_script_get(script, "x", NULL, &err), "tm_script_get");
  NULLS(tm_script_set(script, NULL, v, &err), "tm_script_set");
  NULLS(tm_script_set_function(script, "f", NULL, NULL, &err),
        "tm_script_set_function");
  NULLS(tm_script_poll(NULL, NULL, &err), "tm_script_poll");
  NULLS(tm_open(NULL, NULL, &err), "tm_open");
  NULLS(tm_open(rt, NULL, &err), "tm_open");
  NULLS(tm_lua_push(NULL, v, &err), "tm_lua_push");
  NULLS(tm_lua_get(NULL, 1, &v, &err), "tm_lua_get");
}

static void test_null_in_pools(void) {
  tm_key key = 1;
  int64_t n = 1;
  tm_pool *p;
  tm_array *a;
  tm_job *j;
  size_t len;
  double d;
  NULLS(tm_kernel_register(NULL, kernels, &err), "tm_kernel_register");
  NULLS(tm_kernel_register(rt, NULL, &err), "tm_kernel_register");
  NULLS(tm_kernel_load(rt, NULL, &err), "tm_kernel_load");
  NULLS(tm_array_new(&a, NULL, TM_F64, 1, &n, &err), "tm_array_new");
  NULLS(tm_array_new(&a, rt, TM_F64, 1, NULL, &err), "tm_array_new");
  NULLS(tm_array_wrap(&a, rt, NULL, TM_F64, 1, &n, 0, NULL, NULL, &err),
        "tm_array_wrap");
  NULLS(tm_pool_new(&p, NULL, NULL, &err), "tm_pool_new");
  NULLS(tm_pool_close(NULL, &err), "tm_pool_close");
  NULLS(tm_pool_terminate(NULL, &err), "tm_pool_terminate");
  NULLS(tm_pool_join(NULL, 0, &err), "tm_pool_join");
  NULLS(tm_pool_run(NULL, "total", 1, NULL, 0, NULL, 0, NULL, &err),
        "tm_pool_run");
  NULLS(tm_pool_run(pool, NULL, 1, NULL, 0, NULL, 0, NULL, &err),
        "tm_pool_run");
  NULLS(tm_pool_run(pool, "total", 1, NULL, 1, &d, 8, NULL, &err),
        "tm_pool_run");
  NULLS(tm_pool_map(pool, NULL, NULL, 1, NULL, 0, NULL, 0, NULL, &err),
        "tm_pool_map");
  NULLS(tm_pool_map(pool, square, NULL, 1, NULL, 8, NULL, 0, NULL, &err),
        "tm_pool_map");
  NULLS(tm_pool_run_async(NULL, pool, "total", 1, NULL, 0, NULL, &err),
        "tm_pool_run_async");
  NULLS(tm_pool_map_async(&j, NULL, square, NULL, 1, NULL, 0, NULL, 0, NULL,
                          &err),
        "tm_pool_map_async");
  NULLS(tm_job_result(NULL, NULL, 0, &err), "tm_job_result");
  NULLS(tm_job_error(NULL, &err), "tm_job_error");
  NULLS(tm_store_put(&key, rt, NULL, 3, &err), "tm_store_put");
  NULLS(tm_store_get(NULL, 1, NULL, 0, &len, &err), "tm_store_get");
  NULLS(tm_counter_new(NULL, rt, &err), "tm_counter_new");
}

/* Those that answer no tm_error, and those that free. */
static void test_null_without_error(void) {
  size_t len = 1;
  CHECK(tm_job_wait(NULL, 0) == TM_EINVAL && tm_job_cancel(NULL) == TM_EINVAL);
  CHECK(tm_job_poll(NULL) == 0 && tm_job_failed_item(NULL) == -1);
  CHECK(tm_fd(NULL) == TM_EINVAL && tm_poll(NULL) == TM_EINVAL);
  CHECK(tm_script_fd(NULL) == TM_EINVAL && !tm_script_state(NULL));
  CHECK(tm_script_results(NULL) == 0);
  CHECK(tm_script_result(NULL, 0).type == TM_NIL);
  CHECK(tm_script_error(NULL, &len)[0] == '\0' && len == 0);
  CHECK(!tm_array_data(NULL) && !tm_array_shape(NULL));
  CHECK(tm_array_dtype(NULL) == -1 && tm_array_size(NULL) == 0);
  CHECK(tm_pool_workers(NULL) == 0 && tm_store_count(NULL) == 0);
  CHECK(tm_interrupt(NULL, 1) == 0 && !tm_array_retain(NULL));
  CHECK(tm_job_progress(NULL) == 0);
  tm_runtime_free(NULL);
  tm_script_free(NULL);
  tm_pool_free(NULL);
  tm_job_free(NULL);
  tm_array_release(NULL);
}

static void test_arrays(void) {
  int64_t shape[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, bad = -1;
  int64_t huge[] = {INT64_MAX, 8}, large[] = {(int64_t)1 << 50};
  double mine[2];
  tm_array *a;
  FAILS(tm_array_new(&a, rt, 99, 1, shape, &err), TM_EINVAL,
        "unknown dtype 99");
  FAILS(tm_array_new(&a, rt, -1, 1, shape, &err), TM_EINVAL, "unknown dtype");
  FAILS(tm_array_new(&a, rt, TM_F64, 0, shape, &err), TM_EINVAL, "rank");
  FAILS(tm_array_new(&a, rt, TM_F64, 9, shape, &err), TM_EINVAL, "1 to 8");
  FAILS(tm_array_new(&a, rt, TM_F64, 1, &bad, &err), TM_EINVAL, "negative");
  FAILS(tm_array_new(&a, rt, TM_F64, 2, huge, &err), TM_EINVAL, "memory");
  FAILS(tm_array_new(&a, rt, TM_F64, 1, large, &err), TM_ENOMEM, "may use");
  FAILS(tm_array_wrap(&a, rt, (char *)mine + 1, TM_F64, 1, shape, 0, NULL, NULL,
                      &err),
        TM_EINVAL, "not aligned to 8");
  FAILS(tm_array_wrap(&a, rt, mine, TM_F64, 1, shape, 8, NULL, NULL, &err),
        TM_EINVAL, "unknown flags 0x8");
  CHECK(a == NULL);
}

static void test_pools(void) {
  tm_pool *p;
  tm_pool_options o;
  memset(&o, 0, sizeof o);
  FAILS(tm_pool_new(&p, rt, &o, &err), TM_EINVAL, "tm_pool_options_init");
  tm_pool_options_init(&o);
  o.kind = 7;
  FAILS(tm_pool_new(&p, rt, &o, &err), TM_EINVAL, "unknown kind 7");
  o.kind = TM_POOL_THREAD;
  o.workers = -1;
  FAILS(tm_pool_new(&p, rt, &o, &err), TM_EINVAL, "workers must be");
  o.workers = 1;
  o.pin = 9;
  FAILS(tm_pool_new(&p, rt, &o, &err), TM_EINVAL, "unknown pin 9");
}

static void test_kernels(void) {
  double d;
  tm_array *ints, *elsewhere;
  int64_t n = 4;
  tm_run_options o;
  tm_kernel k = kernels[0];
  tm_runtime *other = new_runtime(NULL);
  FAILS(tm_kernel_register(rt, &k, &err), TM_EINVAL, "'axpy'");
  k.name = "bad";
  k.signature = "f65[] x";
  FAILS(tm_kernel_register_sized(rt, &k, 8, &err), TM_EINVAL, "of 8 bytes");
  FAILS(tm_kernel_register(rt, &k, &err), TM_EINVAL, "f65");
  FAILS(tm_kernel_load(rt, "/no/such/lib.so", &err), TM_ESYS, "lib.so");
  WELL(tm_array_new(&ints, rt, TM_I64, 1, &n, &err));
  WELL(tm_array_new(&elsewhere, other, TM_F64, 1, &n, &err));
  tm_value a = tm_array_value(ints), b = tm_array_value(elsewhere);
  tm_value none = tm_array_value(NULL), text = tm_string("x");
#define RUN(n, v, result, size)                                                \
  tm_pool_run(pool, "total", n, v, 1, result, size, NULL, &err)
  FAILS(tm_pool_run(pool, "nothing", 1, NULL, 0, NULL, 0, NULL, &err),
        TM_EINVAL, "no kernel 'nothing' is registered");
  FAILS(RUN(4, &a, &d, 8), TM_EINVAL, "f64");
  FAILS(RUN(4, &b, &d, 8), TM_EINVAL,
        "argument 1 'x' is an array of another runtime");
  FAILS(RUN(4, &none, &d, 8), TM_EINVAL, "NULL");
  FAILS(RUN(4, &text, &d, 8), TM_EINVAL, "a string");
  FAILS(RUN(-1, &a, &d, 8), TM_EINVAL, "negative");
  tm_run_options_init(&o);
  o.first = -5;
  FAILS(tm_pool_run(pool, "total", 1, &a, 1, &d, 8, &o, &err), TM_EINVAL,
        "first is out of range");
  o.first = INT64_MAX;
  FAILS(tm_pool_run(pool, "total", 1, &a, 1, &d, 8, &o, &err), TM_EINVAL,
        "first is out of range");
  o.first = 0;
  o.chunk = -1;
  FAILS(tm_pool_map(pool, square, NULL, 1, NULL, 0, NULL, 0, &o, &err),
        TM_EINVAL, "chunk must be");
  memset(&o, 0, sizeof o);
  FAILS(tm_pool_map(pool, square, NULL, 1, NULL, 0, NULL, 0, &o, &err),
        TM_EINVAL, "tm_run_options_init");
  FAILS(tm_pool_run(pool, "refuse_7", 1, NULL, 0, &d, 8, NULL, &err), TM_EINVAL,
        "has no result");
  tm_array_release(ints);
  tm_array_release(elsewhere);
  tm_runtime_free(other);
}

static void test_scripts(void) {
  tm_script *s;
  tm_value odd = tm_nil();
  FAILS(tm_script_new(&s, rt, 16, &err), TM_EINVAL, "unknown flags 0x10");
  CHECK(s == NULL);
  FAILS(tm_script_run_string(script, "", NULL, NULL, -1, &err), TM_EINVAL,
        "nargs is negative");
  odd.type = 77;
  FAILS(tm_script_set(script, "x", odd, &err), TM_EINVAL, "no known type");
  odd.type = TM_OTHER;
  FAILS(tm_script_set(script, "x", odd, &err), TM_EINVAL, "stays in Lua");
  odd = tm_array_value(NULL);
  FAILS(tm_script_set(script, "x", odd, &err), TM_EINVAL, "array of the host");
  odd = tm_bytes(NULL, 1);
  FAILS(tm_script_call(script, "print", &odd, 1, &err), TM_EINVAL,
        "argument 1");
  FAILS(tm_script_run_string(script, "", NULL, &odd, 2000000, &err), TM_EINVAL,
        "nargs is above");
  WELL(tm_script_run_string(script, "a = {}", NULL, NULL, 0, &err));
  WELL(tm_script_run_string(script, "return 1", NULL, NULL, 0, &err));
}

static int nothing(void *user, const tm_value *args, int nargs,
                   tm_value *results, int most, tm_error *e) {
  (void)user;
  (void)args;
  (void)nargs;
  (void)results;
  (void)most;
  (void)e;
  return 0;
}

static void test_names(void) {
  static const char *const names[] = {"", ".", ".x", "x.", "a..b", "a.b..c"};
  tm_value v;
  for (int i = 0; i < 6; i++) {
    FAILS(tm_script_get(script, names[i], &v, &err), TM_EINVAL, "is no name");
    FAILS(tm_script_set(script, names[i], tm_nil(), &err), TM_EINVAL, "is no");
    FAILS(tm_script_call(script, names[i], NULL, 0, &err), TM_EINVAL, "is no");
    FAILS(tm_script_set_function(script, names[i], nothing, NULL, &err),
          TM_EINVAL, "is no name");
  }
  WELL(tm_script_set(script, "a.a b", tm_nil(), &err));
}

static void test_without_error(void) {
  tm_pool *p;
  CHECK(tm_setting_set(rt, "nonsense", tm_nil(), NULL) == TM_EINVAL);
  CHECK(tm_script_run_string(script, "error()", NULL, NULL, 0, NULL) ==
        TM_ELUA);
  CHECK(tm_pool_new(&p, NULL, NULL, NULL) == TM_EINVAL && !p);
  CHECK(tm_pool_run(pool, "refuse_7", 9, NULL, 0, NULL, 0, NULL, NULL) ==
        TM_EKERNEL);
}

int main(void) {
  heap h = {0};
  rt = new_runtime(&h);
  if (!CHECK(rt)) return check_done();
  register_kernels(rt);
  pool = new_pool(rt, TM_POOL_THREAD);
  WELL(tm_script_new(&script, rt, 0, &err));
  test_null();
  test_null_in_pools();
  test_null_without_error();
  test_arrays();
  test_pools();
  test_kernels();
  test_scripts();
  test_names();
  test_without_error();
  tm_script_free(script);
  tm_pool_free(pool);
  tm_runtime_free(rt);
  CHECK(h.live == 0);
  return check_done();
}
