/*
 * test_host_script.c: scripts, values, arrays and the store from C
 */
#include "host_script.h"

/* ---- values ---- */

static bool is_string(tm_value v, const char *text, size_t len) {
  return v.type == TM_STRING && v.as.string.len == len &&
         memcmp(v.as.string.text, text, len) == 0 &&
         v.as.string.text[len] == '\0';
}

static void test_values_there_and_back(void) {
  tm_script *s = new_script(0);
  tm_value args[] = {tm_nil(),         tm_boolean(7),  tm_integer(INT64_MIN),
                     tm_number(-0.5),  tm_string("x"), tm_bytes("a\0b", 3),
                     tm_bytes(NULL, 0)};
  WELL(tm_script_run_string(s, "return ...", NULL, args, 7, &err));
  CHECK(tm_script_results(s) == 7);
  CHECK(tm_script_result(s, 0).type == TM_NIL);
  CHECK(tm_script_result(s, 1).as.boolean == 1);
  CHECK(tm_script_result(s, 2).as.integer == INT64_MIN);
  CHECK(tm_script_result(s, 3).as.number == -0.5);
  CHECK(is_string(tm_script_result(s, 4), "x", 1));
  CHECK(is_string(tm_script_result(s, 5), "a\0b", 3));
  CHECK(is_string(tm_script_result(s, 6), "", 0));
  CHECK(tm_script_result(s, 7).type == TM_NIL);
  CHECK(tm_script_result(s, -1).type == TM_NIL);
  WELL(RUN(s, "return {}, print, io.stdout"));
  CHECK(tm_script_result(s, 0).type == TM_OTHER);
  CHECK(strcmp(tm_script_result(s, 1).as.string.text, "function") == 0);
  CHECK(strcmp(tm_script_result(s, 2).as.string.text, "userdata") == 0);
  tm_script_free(s);
}

static void test_calls_and_globals(void) {
  tm_value v, two[] = {tm_integer(40), tm_integer(2)};
  tm_script *s = new_script(0);
  WELL(RUN(s, "model = {a = {}}; function model.add(x, y) return x + y end"));
  WELL(tm_script_call(s, "model.add", two, 2, &err));
  CHECK(tm_script_result(s, 0).as.integer == 42);
  WELL(tm_script_set(s, "model.a.b", tm_string("deep"), &err));
  WELL(tm_script_get(s, "model.a.b", &v, &err));
  CHECK(is_string(v, "deep", 4));
  CHECK(tm_script_result(s, 0).as.integer == 42); /* not a run */
  WELL(tm_script_get(s, "nothing", &v, &err));
  CHECK(v.type == TM_NIL);
  FAILS(tm_script_get(s, "no.such", &v, &err), TM_ELUA, "'no' is a nil value");
  FAILS(tm_script_set(s, "no.such.thing", v, &err), TM_ELUA, "nil value");
  FAILS(tm_script_call(s, "nothing", NULL, 0, &err), TM_ELUA,
        "no function 'nothing'");
  tm_script_free(s);
}

static void test_errors(void) {
  size_t n;
  tm_script *s = new_script(0);
  FAILS(RUN(s, "local function f() error('oh') end f()"), TM_ELUA,
        "host:1: oh\nstack traceback:");
  CHECK(strcmp(tm_script_error(s, &n), err.text) == 0 && n == strlen(err.text));
  FAILS(RUN(s, "error(('x'):rep(5000))"), TM_ELUA, "xxx");
  CHECK(strlen(tm_script_error(s, &n)) == n && n > 5000);
  CHECK(strlen(err.text) == sizeof err.text - 1);
  FAILS(RUN(s, "return ("), TM_ELUA, "host:1: unexpected symbol");
  FAILS(RUN(s, "error()"), TM_ELUA, "nil");
  FAILS(RUN(s, "error({})"), TM_ELUA, "table value");
  FAILS(RUN(s, "require 'tidemill'.array('f64', 1 << 50)"), TM_ENOMEM,
        "host:1: not enough memory");
  FAILS(RUN(s, "error 'a lot, not enough memory'"), TM_ELUA, "a lot");
  FAILS(tm_script_run_file(s, "no such file.lua", NULL, 0, &err), TM_ESYS,
        "no such file.lua");
  CHECK(strcmp(tm_script_error(s, NULL), err.text) == 0);
  CHECK(!strstr(err.text, "traceback") && tm_script_results(s) == 0);
  FAILS(tm_script_run_file(s, "/", NULL, 0, &err), TM_ESYS, "cannot read /");
  WELL(RUN(s, "return 1"));
  CHECK(tm_script_error(s, &n)[0] == '\0' && n == 0);
  tm_script_free(s);
}

static void test_files(void) {
  char path[] = "/tmp/tidemill_host_XXXXXX";
  tm_value arg = tm_integer(20);
  tm_script *s = new_script(0);
  int fd = mkstemp(path);
  const char *code = "#!/usr/bin/lua\nlocal n = ...\nreturn n + 1, 'file'\n";
  CHECK(write(fd, code, strlen(code)) == (ssize_t)strlen(code));
  close(fd);
  WELL(tm_script_run_file(s, path, &arg, 1, &err));
  CHECK(tm_script_result(s, 0).as.integer == 21);
  unlink(path);
  tm_script_free(s);
}

/* ---- functions of the host ---- */

static int twice(void *user, const tm_value *args, int nargs, tm_value *results,
                 int most, tm_error *e) {
  int *calls = user;
  ++*calls;
  CHECK(most >= 2);
  if (nargs < 1 || args[0].type == TM_OTHER) {
    return tm_error_set(e, TM_EINVAL, "something is wanted");
  }
  results[0] = results[1] = args[0];
  return 2;
}

static int reenter(void *user, const tm_value *args, int nargs,
                   tm_value *results, int most, tm_error *e) {
  (void)args;
  (void)nargs;
  (void)most;
  results[0] = tm_integer(tm_script_run_string(user, "", NULL, NULL, 0, e));
  return 1;
}

static int bad_count(void *user, const tm_value *args, int nargs,
                     tm_value *results, int most, tm_error *e) {
  (void)user;
  (void)args;
  (void)nargs;
  (void)results;
  (void)e;
  return most + 1;
}

static void test_host_functions(void) {
  int calls = 0;
  int64_t n = 3;
  tm_array *a;
  tm_script *s = new_script(0);
  WELL(tm_array_new(&a, rt, TM_I32, 1, &n, &err));
  WELL(RUN(s, "host = {}"));
  WELL(tm_script_set_function(s, "host.twice", twice, &calls, &err));
  WELL(tm_script_set_function(s, "reenter", reenter, s, &err));
  WELL(tm_script_set_function(s, "bad", bad_count, NULL, &err));
  WELL(tm_script_set(s, "a", tm_array_value(a), &err));
  WELL(RUN(s, "local x, y = host.twice('z'); return x .. y, host.twice(a)"));
  CHECK(is_string(tm_script_result(s, 0), "zz", 2) && calls == 2);
  CHECK(tm_array_data(tm_script_result(s, 2).as.array) == tm_array_data(a));
  FAILS(RUN(s, "host.twice()"), TM_ELUA, "host:1: something is wanted");
  WELL(RUN(s, "return reenter()"));
  CHECK(tm_script_result(s, 0).as.integer == TM_EBUSY);
  FAILS(RUN(s, "bad()"), TM_ELUA, "17 results");
  tm_array_release(a);
  tm_script_free(s);
}

/* ---- arrays ---- */

static void test_arrays(void) {
  int64_t shape[] = {2, 3};
  tm_array *a;
  tm_script *s = new_script(0);
  WELL(tm_array_new(&a, rt, TM_F64, 2, shape, &err));
  CHECK(tm_array_rank(a) == 2 && tm_array_dtype(a) == TM_F64);
  CHECK(tm_array_shape(a)[1] == 3 && tm_array_size(a) == 6);
  CHECK(tm_array_bytes(a) == 48 && !tm_array_readonly(a));
  tm_value arg = tm_array_value(a);
  WELL(tm_script_run_string(s,
                            "require 'tidemill'\n"
                            "local a = ...; a[2][3] = 6.5; row = a[2]\n"
                            "return row, require 'tidemill'.array{1, 2}",
                            NULL, &arg, 1, &err));
  CHECK(((double *)tm_array_data(a))[5] == 6.5);
  tm_array *row = tm_array_retain(tm_script_result(s, 0).as.array);
  CHECK(tm_array_data(row) == (double *)tm_array_data(a) + 3);
  CHECK(tm_array_size(tm_script_result(s, 1).as.array) == 2);
  tm_array_release(a);
  tm_script_free(s);
  CHECK(((double *)tm_array_data(row))[2] == 6.5); /* keeps the memory */
  tm_array_release(row);
}

/* ---- the store ---- */

static void test_store(void) {
  char bytes[16];
  size_t n;
  tm_key key, made;
  tm_script *s = new_script(0);
  WELL(tm_store_put(&key, rt, "a\0bc", 4, &err));
  WELL(tm_store_get(rt, key, NULL, 0, &n, &err));
  CHECK(n == 4);
  FAILS(tm_store_get(rt, key, bytes, 3, &n, &err), TM_EINVAL, "4 bytes");
  WELL(tm_store_get(rt, key, bytes, sizeof bytes, &n, &err));
  CHECK(n == 4 && memcmp(bytes, "a\0bc", 4) == 0);
  tm_value arg = tm_key_value(key);
  WELL(tm_script_run_string(
      s,
      "local tm, key = require 'tidemill', ...\n"
      "local pool = tm.thread_pool()\n"
      "local seen = pool:apply(function(k) return tm.glob_read(k) end, {key})\n"
      "tm.glob_update(key, 'from Lua')\n"
      "return seen, key, tm.glob_store('mine'), tm.glob_store{}",
      NULL, &arg, 1, &err));
  CHECK(is_string(tm_script_result(s, 0), "a\0bc", 4));
  CHECK(tm_script_result(s, 1).as.key == key);
  WELL(tm_store_get(rt, key, bytes, sizeof bytes, &n, &err));
  CHECK(n == 8 && memcmp(bytes, "from Lua", 8) == 0);
  made = tm_script_result(s, 2).as.key;
  WELL(tm_store_get(rt, made, bytes, sizeof bytes, &n, &err));
  CHECK(n == 4 && memcmp(bytes, "mine", 4) == 0);
  FAILS(tm_store_get(rt, tm_script_result(s, 3).as.key, bytes, 1, &n, &err),
        TM_EINVAL, "only Lua can read it");
  WELL(tm_store_update(rt, key, "", 0, &err));
  WELL(tm_script_run_string(s, "return require'tidemill'.glob_read(...)", NULL,
                            &arg, 1, &err));
  CHECK(is_string(tm_script_result(s, 0), "", 0));
  WELL(tm_store_remove(rt, key, &err));
  FAILS(tm_store_remove(rt, key, &err), TM_ENOKEY, "was removed");
  FAILS(tm_store_get(rt, key, bytes, 1, &n, &err), TM_ENOKEY, "was removed");
  FAILS(tm_store_update(rt, 12345, "", 0, &err), TM_ENOKEY, "never was");
  FAILS(tm_script_set(s, "k", arg, &err), TM_ENOKEY, "key was removed");
  FAILS(tm_script_call(s, "print", &arg, 1, &err), TM_ENOKEY, "argument 1");
  tm_script_free(s);
}

static void test_counter(void) {
  tm_key key;
  int64_t value;
  tm_script *s = new_script(0);
  WELL(tm_counter_new(&key, rt, &err));
  WELL(tm_counter_add(rt, key, 5, &value, &err));
  CHECK(value == 5);
  tm_value arg = tm_key_value(key);
  WELL(tm_script_run_string(
      s,
      "local tm, c = require 'tidemill', ...\n"
      "tm.thread_pool():map(function(i) c:increment(i) end, {1, 2, 3})\n"
      "return c:value()",
      NULL, &arg, 1, &err));
  CHECK(tm_script_result(s, 0).as.integer == 11);
  WELL(tm_counter_add(rt, key, 0, &value, &err));
  CHECK(value == 11);
  FAILS(tm_store_get(rt, key, NULL, 0, NULL, &err), TM_EINVAL, "an object");
  WELL(tm_store_remove(rt, key, &err));
  FAILS(tm_counter_add(rt, key, 1, NULL, &err), TM_ENOKEY, "was removed");
  tm_script_free(s);
}

int main(void) {
  heap h = {0};
  rt = new_runtime(&h);
  if (!CHECK(rt)) return check_done();
  register_kernels(rt);
  test_values_there_and_back();
  test_calls_and_globals();
  test_errors();
  test_files();
  test_host_functions();
  test_arrays();
  test_store();
  test_counter();
  tm_runtime_free(rt);
  CHECK(h.live == 0);
  return check_done();
}
