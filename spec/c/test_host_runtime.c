/*
 * test_host_runtime.c: runtimes from outside: many, at once, closed at any
 * time; settings, the log, hooks of states; misuse
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>

#include "host.h"

/* Fewer where a sanitizer makes each dear. */
static int many(void) { return getenv("TIDEMILL_STRESS") ? 200 : 1000; }

static void test_versions(void) {
  CHECK(strcmp(tm_version(), TM_VERSION) == 0 && tm_abi() == TM_ABI);
  CHECK(strcmp(tm_status_name(TM_OK), "TM_OK") == 0);
  CHECK(strcmp(tm_status_name(TM_ETHREAD), "TM_ETHREAD") == 0);
  CHECK(strcmp(tm_status_name(7), "unknown status") == 0);
  CHECK(strcmp(tm_status_name(-13), "unknown status") == 0);
}

/* ---- configs ---- */

static void refuses(const tm_config *c, const char *part) {
  tm_runtime *rt = (tm_runtime *)(uintptr_t)c;
  FAILS(tm_runtime_new(&rt, c, &err), TM_EINVAL, part);
  CHECK(rt == NULL && tm_runtime_new(&rt, c, NULL) == TM_EINVAL);
}

static void test_config(void) {
  tm_config c, zero;
  memset(&zero, 0, sizeof zero);
  refuses(&zero, "begin with tm_config_init");
  tm_config_init(&c);
  c.threads = -1;
  refuses(&c, "threads must be 0 or more");
  tm_config_init(&c);
  c.processes = -2;
  refuses(&c, "processes must be 0 or more");
  tm_config_init(&c);
  c.start_method = 9;
  refuses(&c, "unknown start_method 9");
  tm_config_init(&c);
  c.flags = 64;
  refuses(&c, "unknown flags 0x40");
  CHECK(tm_runtime_new(NULL, NULL, &err) == TM_EINVAL);
}

/* A program of an older header knows less of the struct, one of a newer more:
   what it does not use does not matter. */
static void test_other_sizes(void) {
  struct {
    tm_config c;
    long more[4];
  } newer;
  tm_runtime *rt;
  unsigned char older[offsetof(tm_config, log) + 64];
  memset(older, 0xee, sizeof older);
  tm_config_init_sized((tm_config *)(void *)older, offsetof(tm_config, log));
  CHECK(older[offsetof(tm_config, log)] == 0xee);
  WELL(tm_runtime_new(&rt, (tm_config *)(void *)older, &err));
  tm_runtime_free(rt);
  tm_config_init_sized(&newer.c, sizeof newer);
  WELL(tm_runtime_new(&rt, &newer.c, &err));
  tm_runtime_free(rt);
  newer.more[3] = 1;
  FAILS(tm_runtime_new(&rt, &newer.c, &err), TM_EINVAL, "does not know");
}

/* ---- many ---- */

static void test_many(void) {
  heap h = {0};
  int before = dup(0);
  close(before);
  for (int i = many(); i > 0; i--) {
    tm_runtime *rt = new_runtime(&h);
    if (!CHECK(rt && tm_fd(rt) >= 0)) return;
    tm_runtime_free(rt);
  }
  int after = dup(0);
  close(after);
  CHECK(h.live == 0 && after == before); /* nor descriptors left open */
}

static void *use(void *user) {
  const char *code = "local tm = require 'tidemill'\n"
                     "local sum = 0\n"
                     "for _, x in ipairs(tm.thread_pool():map("
                     "function(i) return i end, {1, 2, 3})) do\n"
                     "sum = sum + x end return sum";
  for (int i = 0; i < 5; i++) {
    int64_t out[20];
    tm_script *s;
    tm_runtime *rt = new_runtime(user);
    register_kernels(rt);
    tm_pool *pool = new_pool(rt, TM_POOL_THREAD);
    WELL(tm_script_new(&s, rt, 0, &err));
    WELL(tm_script_run_string(s, code, NULL, NULL, 0, &err));
    CHECK(tm_script_result(s, 0).as.integer == 6);
    WELL(tm_pool_map(pool, square, NULL, 20, NULL, 0, out, 8, NULL, &err));
    CHECK(out[19] == 361);
    if (i % 2) tm_runtime_free(rt); /* before what was made in it */
    tm_script_free(s);
    tm_pool_free(pool);
    if (i % 2 == 0) tm_runtime_free(rt);
  }
  return NULL;
}

static void test_at_once(void) {
  heap h[2] = {{0}, {0}};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, use, &h[i]);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  CHECK(h[0].live == 0 && h[1].live == 0);
}

/* ---- closing ---- */

static void test_close(void) {
  heap h = {0};
  int64_t n = 1;
  double sum;
  tm_value v;
  tm_key key;
  tm_script *s, *late;
  tm_array *a, *b;
  tm_job *job;
  tm_runtime *rt = new_runtime(&h);
  register_kernels(rt);
  tm_pool *pool = new_pool(rt, TM_POOL_THREAD), *other;
  WELL(tm_script_new(&s, rt, 0, &err));
  WELL(tm_array_new(&a, rt, TM_I64, 1, &n, &err));
  tm_value arg = tm_array_value(a);
  WELL(tm_pool_run_async(&job, pool, "endless", 4, &arg, 1, NULL, &err));
  WELL(tm_runtime_close(rt, &err));
  WELL(tm_runtime_close(rt, &err));
  CHECK(tm_job_poll(job) == 1);
  FAILS(tm_job_error(job, &err), TM_ECANCELLED, "cancelled");
  FAILS(tm_pool_new(&other, rt, NULL, &err), TM_ECLOSED, "runtime is closed");
  FAILS(tm_pool_run(pool, "endless", 1, &arg, 1, NULL, 0, NULL, &err),
        TM_ECLOSED, "runtime is closed");
  FAILS(tm_pool_run(pool, "total", 1, &arg, 1, &sum, 8, NULL, &err), TM_ECLOSED,
        "runtime is closed");
  FAILS(tm_script_new(&late, rt, 0, &err), TM_ECLOSED, "runtime is closed");
  FAILS(tm_script_run_string(s, "", NULL, NULL, 0, &err), TM_ECLOSED, "closed");
  FAILS(tm_script_get(s, "x", &v, &err), TM_ECLOSED, "closed");
  FAILS(tm_array_new(&b, rt, TM_I64, 1, &n, &err), TM_ECLOSED, "closed");
  FAILS(tm_store_put(&key, rt, "", 0, &err), TM_ECLOSED, "closed");
  FAILS(tm_counter_new(&key, rt, &err), TM_ECLOSED, "closed");
  FAILS(tm_setting_get(rt, "pin", &v, &err), TM_ECLOSED, "closed");
  FAILS(tm_log(rt, TM_LOG_INFO, "x", &err), TM_ECLOSED, "closed");
  FAILS(tm_kernel_register(rt, kernels, &err), TM_ECLOSED, "closed");
  CHECK(tm_fd(rt) == TM_ECLOSED && tm_poll(rt) == 0);
  CHECK(tm_array_size(a) == 1 && tm_array_data(a)); /* still there */
  tm_runtime_free(rt);
  tm_job_free(job);
  tm_script_free(s);
  tm_pool_free(pool);
  tm_array_release(a);
  CHECK(h.live == 0);
}

/* A kernel that closes the runtime that it runs in, and frees it. */
static int end_all(const tm_call *c, const void *in, void *out, void *user) {
  tm_runtime *rt = user;
  (void)c;
  (void)in;
  *(int *)out = tm_runtime_close(rt, NULL);
  tm_runtime_free(rt);
  return 0;
}

static void test_free_from_inside(void) {
  heap h = {0};
  int answer = 0;
  tm_job *job;
  tm_runtime *rt = new_runtime(&h);
  tm_pool *pool = new_pool(rt, TM_POOL_THREAD);
  WELL(tm_pool_map_async(&job, pool, end_all, rt, 1, NULL, 0, &answer,
                         sizeof answer, NULL, &err));
  CHECK(tm_job_wait(job, TM_FOREVER) == TM_OK && answer == TM_ETHREAD);
  tm_job_free(job);
  tm_pool_free(pool);
  while (atomic_load(&h.live)) usleep(1000); /* in the background */
  CHECK(h.live == 0);
}

static void *close_it(void *rt) {
  WELL(tm_runtime_close(rt, &err));
  return NULL;
}

/* Closed while other threads use it: they are told. */
static void test_close_while_in_use(void) {
  heap h = {0};
  for (int i = 0; i < 10; i++) {
    pthread_t thread;
    int status;
    int64_t n = 1;
    tm_array *a;
    tm_error e;
    tm_runtime *rt = new_runtime(&h);
    register_kernels(rt);
    tm_pool *pool = new_pool(rt, TM_POOL_THREAD);
    WELL(tm_array_new(&a, rt, TM_I64, 1, &n, &err));
    tm_value arg = tm_array_value(a);
    pthread_create(&thread, NULL, close_it, rt);
    status = tm_pool_run(pool, "endless", 100, &arg, 1, NULL, 0, NULL, &e);
    CHECK(status == TM_ECANCELLED || status == TM_ECLOSED);
    pthread_join(thread, NULL);
    tm_array_release(a);
    tm_pool_free(pool);
    tm_runtime_free(rt);
  }
  CHECK(h.live == 0);
}

/* A pool is freed by one thread while another closes its runtime. */
static void test_close_while_freed(void) {
  heap h = {0};
  for (int i = 0; i < 20; i++) {
    pthread_t thread;
    tm_job *job = NULL;
    tm_runtime *rt = new_runtime(&h);
    tm_pool *pool = new_pool(rt, i % 4 ? TM_POOL_THREAD : TM_POOL_FAKE);
    WELL(tm_pool_map_async(&job, pool, square, NULL, 1000, NULL, 0, NULL, 0,
                           NULL, &err));
    pthread_create(&thread, NULL, close_it, rt);
    tm_pool_free(pool);
    CHECK(tm_job_poll(job) == 1);
    pthread_join(thread, NULL);
    tm_job_free(job);
    tm_runtime_free(rt);
  }
  CHECK(h.live == 0);
}

/* The pools of scripts end with the runtime too. */
static void test_close_ends_pools_of_scripts(void) {
  heap h = {0};
  tm_script *s;
  tm_runtime *rt = new_runtime(&h);
  WELL(tm_script_new(&s, rt, 0, &err));
  WELL(tm_script_run_string(
      s,
      "local tm = require 'tidemill'\n"
      "own = tm.Pool{kind = 'thread', workers = 1}\n"
      "job = own:map_async(function() for i = 1, 1e5 do end end, "
      "tm.range(1, 100000))",
      NULL, NULL, 0, &err));
  tm_runtime_free(rt);
  tm_script_free(s);
  CHECK(h.live == 0);
}

/* ---- what a runtime does and does not ---- */

static void test_quiet(void) {
  struct sigaction now, before = {.sa_handler = SIG_IGN};
  tm_script *s;
  sigaction(SIGURG, &before, NULL);
  tm_runtime *rt = new_runtime(NULL);
  int saved = dup(2), ends[2];
  char c;
  CHECK(pipe(ends) == 0);
  dup2(ends[1], 2);
  close(ends[1]);
  int status = tm_script_new(&s, rt, 0, &err);
  if (!status)
    status = tm_script_run_string(
        s,
        "local tm = require 'tidemill'; tm.log('x', 'error')\n"
        "tm.thread_pool():map(function() tm.log('y') end, {1})",
        NULL, NULL, 0, &err);
  dup2(saved, 2);
  close(saved);
  WELL(status);
  CHECK(read(ends[0], &c, 1) == 0); /* nothing was written */
  close(ends[0]);
  CHECK(!getenv("OMP_NUM_THREADS"));
  sigaction(SIGURG, NULL, &now);
  CHECK(now.sa_handler == SIG_IGN);
  tm_script_free(s);
  tm_runtime_free(rt);
}

typedef struct lines {
  _Atomic int count;
  int level;
  char last[80];
} lines;

static void take_line(void *user, int level, const char *line) {
  lines *l = user;
  l->count++;
  l->level = level;
  snprintf(l->last, sizeof l->last, "%s", line);
}

static void test_log(void) {
  lines l = {0};
  tm_config c;
  tm_runtime *rt;
  tm_script *s;
  tm_config_init(&c);
  c.log = take_line;
  c.log_user = &l;
  WELL(tm_runtime_new(&rt, &c, &err));
  WELL(tm_log(rt, TM_LOG_WARNING, "one\ntwo\n", &err));
  CHECK(l.count == 2 && l.level == TM_LOG_WARNING && strstr(l.last, "two"));
  WELL(tm_log(rt, TM_LOG_DEBUG, "not at this level", &err));
  WELL(tm_setting_set(rt, "log_level", tm_string("debug"), &err));
  WELL(tm_log(rt, TM_LOG_DEBUG, "now", &err));
  CHECK(l.count == 3);
  FAILS(tm_log(rt, 9, "x", &err), TM_EINVAL, "unknown level 9");
  WELL(tm_script_new(&s, rt, 0, &err));
  WELL(tm_script_run_string(s, "require 'tidemill'.log 'from Lua'", NULL, NULL,
                            0, &err));
  CHECK(l.count == 4 && strstr(l.last, "from Lua"));
  tm_script_free(s);
  tm_runtime_free(rt);
}

static void test_settings(void) {
  tm_value v;
  tm_script *s;
  tm_runtime *rt = new_runtime(NULL);
  WELL(tm_setting_get(rt, "threads", &v, &err));
  CHECK(v.type == TM_INTEGER && v.as.integer == 2);
  WELL(tm_setting_set(rt, "threads", tm_integer(3), &err));
  WELL(tm_setting_set(rt, "start_method", tm_string("spawn"), &err));
  WELL(tm_setting_set(rt, "pin", tm_boolean(0), &err));
  WELL(tm_setting_set(rt, "log_level", tm_string("warning"), &err));
  WELL(tm_script_new(&s, rt, 0, &err));
  WELL(tm_script_run_string(s,
                            "local tm = require 'tidemill'\n"
                            "local c = tm.config\n"
                            "return c.threads, c.start_method, c.pin, "
                            "c.log_level, #tm.thread_pool()",
                            NULL, NULL, 0, &err));
  CHECK(tm_script_result(s, 0).as.integer == 3);
  CHECK(strcmp(tm_script_result(s, 1).as.string.text, "spawn") == 0);
  CHECK(tm_script_result(s, 2).type == TM_BOOLEAN);
  CHECK(tm_script_result(s, 2).as.boolean == 0);
  CHECK(strcmp(tm_script_result(s, 3).as.string.text, "warning") == 0);
  CHECK(tm_script_result(s, 4).as.integer == 3);
  WELL(tm_setting_set(rt, "threads", tm_string("auto"), &err));
  WELL(tm_setting_get(rt, "pin", &v, &err));
  CHECK(v.type == TM_BOOLEAN && !v.as.boolean);
  FAILS(tm_setting_set(rt, "threads", tm_integer(0), &err), TM_EINVAL,
        "threads must be a whole number from 1");
  FAILS(tm_setting_set(rt, "pin", tm_string("yes"), &err), TM_EINVAL,
        "pin must be a boolean");
  FAILS(tm_setting_set(rt, "log_file", tm_string("/no/such/dir/x"), &err),
        TM_ESYS, "cannot open log file");
  FAILS(tm_setting_get(rt, "thread", &v, &err), TM_EINVAL,
        "unknown setting 'thread'");
  tm_script_free(s);
  tm_runtime_free(rt);
}

/* ---- Lua states ---- */

static int answer(lua_State *L) {
  lua_pushinteger(L, 42);
  return 1;
}

static int open_library(lua_State *L) {
  static const luaL_Reg functions[] = {{"answer", answer}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}

static void add_library(void *user, lua_State *L) {
  if (user) luaL_error(L, "%s", (const char *)user);
  lua_pushcfunction(L, answer);
  lua_setglobal(L, "answer");
  luaL_requiref(L, "lib", open_library, 1);
}

static tm_runtime *with_hook(void *user, heap *h) {
  tm_config c;
  tm_runtime *rt;
  tm_config_init(&c);
  c.threads = 2;
  c.on_state = add_library;
  c.on_state_user = user;
  c.alloc = heap_alloc;
  c.alloc_user = h;
  WELL(tm_runtime_new(&rt, &c, &err));
  return rt;
}

static const char in_workers[] =
    "local lib = lib\n"
    "return require 'tidemill'.thread_pool():map("
    "function() return answer() + lib.answer() end, {1, 2})[2]";

static void test_on_state(void) {
  heap h = {0};
  tm_script *s;
  tm_runtime *rt = with_hook(NULL, &h);
  WELL(tm_script_new(&s, rt, 0, &err));
  WELL(tm_script_run_string(s, "answer()", NULL, NULL, 0, &err));
  WELL(tm_script_run_string(s, in_workers, NULL, NULL, 0, &err));
  CHECK(tm_script_result(s, 0).as.integer == 84);
  tm_script_free(s);
  tm_runtime_free(rt);
  char text[] = "no library today";
  rt = with_hook(text, &h);
  FAILS(tm_script_new(&s, rt, 0, &err), TM_ELUA, text);
  CHECK(s == NULL);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  WELL(tm_open(rt, L, &err)); /* the hook is not for the host's own */
  CHECK(luaL_dostring(L, in_workers) && strstr(luaL_tolstring(L, -1, 0), text));
  lua_close(L);
  tm_runtime_free(rt);
  CHECK(h.live == 0);
}

static void test_open(void) {
  heap h = {0};
  int64_t n = 2;
  tm_value v;
  tm_array *a;
  tm_runtime *rt = new_runtime(&h);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  FAILS(tm_lua_push(L, tm_integer(1), &err), TM_EINVAL, "is not open");
  WELL(tm_open(rt, L, &err));
  FAILS(tm_open(rt, L, &err), TM_EINVAL, "is open in this");
  WELL(tm_array_new(&a, rt, TM_F64, 1, &n, &err));
  WELL(tm_lua_push(L, tm_array_value(a), &err));
  lua_setglobal(L, "a");
  CHECK(luaL_dostring(L, "a[2] = 5; return a") == LUA_OK);
  WELL(tm_lua_get(L, -1, &v, &err));
  CHECK(v.type == TM_ARRAY && tm_array_data(v.as.array) == tm_array_data(a));
  CHECK(((double *)tm_array_data(a))[1] == 5);
  tm_array_release(v.as.array);
  WELL(tm_lua_get(L, 99, &v, &err));
  CHECK(v.type == TM_NIL);
  FAILS(tm_lua_push(L, tm_key_value(77), &err), TM_ENOKEY, "key was removed");
  CHECK(lua_gettop(L) == 1);
  tm_runtime_free(rt);
  FAILS(tm_lua_push(L, tm_integer(1), &err), TM_ECLOSED, "closed");
  lua_close(L);
  tm_array_release(a);
  CHECK(h.live == 0);
}

int main(void) {
  test_quiet(); /* first: it looks at what the process begins with */
  test_versions();
  test_config();
  test_other_sizes();
  test_many();
  test_at_once();
  test_close();
  test_free_from_inside();
  test_close_while_in_use();
  test_close_while_freed();
  test_close_ends_pools_of_scripts();
  test_log();
  test_settings();
  test_on_state();
  test_open();
  return check_done();
}
