/*
 * test_host_stop.c: callbacks of scripts, and scripts that are stopped
 */
#include "host_script.h"

/* ---- callbacks and stopping ---- */

static void test_callbacks(void) {
  int count = 0;
  tm_value v;
  tm_script *s = new_script(0);
  WELL(tm_script_poll(s, &count, &err));
  CHECK(count == 0);
  int fd = tm_script_fd(s);
  CHECK(fd >= 0 && fd == tm_script_fd(s) && !readable(fd, 0));
  WELL(RUN(s, "local tm = require 'tidemill'\n"
              "tm.thread_pool():apply_async(function() return 7 end, {}, "
              "{callback = function(x) got = x end})\n"
              "assert(tm.fileno())"));
  CHECK(readable(fd, -1));
  WELL(tm_script_poll(s, &count, &err));
  CHECK(count == 1 && !readable(fd, 0));
  WELL(tm_script_get(s, "got", &v, &err));
  CHECK(v.as.integer == 7);
  WELL(RUN(s, "r = require'tidemill'.thread_pool():apply_async("
              "function() end)"));
  CHECK(readable(fd, -1)); /* one without a callback is told too */
  WELL(tm_script_poll(s, NULL, &err));
  WELL(RUN(s, "return r:ready()"));
  CHECK(tm_script_result(s, 0).as.boolean == 1);
  tm_script_free(s);
}

static int begun(void *user, const tm_value *args, int nargs, tm_value *results,
                 int most, tm_error *e) {
  (void)args;
  (void)nargs;
  (void)results;
  (void)most;
  (void)e;
  atomic_store((_Atomic int *)user, 1);
  return 0;
}

typedef struct runner {
  tm_script *script;
  const char *code;
  _Atomic int begun;
  int status;
  char text[500];
} runner;

static void *run_script(void *user) {
  runner *r = user;
  tm_error e;
  r->status = tm_script_run_string(r->script, r->code, NULL, NULL, 0, &e);
  snprintf(r->text, sizeof r->text, "%s", e.text);
  return NULL;
}

static void stop(const char *code, const char *text) {
  pthread_t thread;
  runner r = {.script = new_script(TM_SCRIPT_STOPPABLE), .code = code};
  WELL(tm_script_set_function(r.script, "begun", begun, &r.begun, &err));
  pthread_create(&thread, NULL, run_script, &r);
  while (!atomic_load(&r.begun)) usleep(100);
  FAILS(tm_script_run_string(r.script, "", NULL, NULL, 0, &err), TM_EBUSY,
        "in use");
  CHECK(tm_script_fd(r.script) == TM_EBUSY);
  CHECK(tm_script_stop(r.script) == TM_OK);
  pthread_join(thread, NULL);
  if (!CHECK(r.status == TM_ELUA && strstr(r.text, text)))
    fprintf(stderr, "%s\n", r.text);
  WELL(RUN(r.script, "return 1")); /* and goes on */
  tm_script_free(r.script);
}

static void test_stop(void) {
  stop("begun() while true do end", "stopped");
  stop("begun() while true do pcall(error) end", "stopped");
  stop("begun() coroutine.wrap(function() while true do end end)()", "stopped");
  stop("begun() while true do pcall(function() while true do end end) end",
       "stopped");
  stop("coroutine.wrap(function() begun()\n"
       "while true do pcall(function() while true do end end) end end)()",
       "stopped");
  stop("begun() while true do pcall(coroutine.wrap(function()\n"
       "pcall(function() while true do end end) end)) end",
       "stopped");
  stop("begun() pcall(function() while true do end end)", "stopped");
  stop("local tm = require 'tidemill' begun() while true do\n"
       "pcall(tm.thread_pool().map, tm.thread_pool(), math.abs, {1, 2}) end",
       "stopped");
  stop("local tm = require 'tidemill' begun()\n"
       "tm.Pool{kind='thread', workers=1}:map(function() "
       "for i = 1, 1e6 do end end, tm.range(1, 100000))",
       "interrupted");
  tm_script *s = new_script(0);
  CHECK(tm_script_stop(s) == TM_EINVAL && tm_script_stop(NULL) == TM_EINVAL);
  tm_script_free(s);
}

static void test_stop_before_and_after(void) {
  tm_value v;
  tm_script *s = new_script(TM_SCRIPT_STOPPABLE);
  CHECK(tm_script_stop(s) == TM_OK);
  WELL(tm_script_get(s, "x", &v, &err)); /* no run */
  FAILS(RUN(s, "ran = true return 1"), TM_ELUA, "stopped");
  CHECK(tm_script_results(s) == 0);
  WELL(tm_script_get(s, "ran", &v, &err));
  CHECK(v.type == TM_NIL);
  WELL(RUN(s, "function last() return 1 end"));
  CHECK(tm_script_stop(s) == TM_OK);
  FAILS(tm_script_call(s, "tostring", &v, 1, &err), TM_ELUA, "stopped");
  CHECK(strcmp(tm_script_error(s, NULL), "stopped") == 0);
  WELL(tm_script_call(s, "last", NULL, 0, &err));
  CHECK(tm_script_results(s) == 1);
  tm_script_free(s);
}

/* What is to be closed has a moment for that. */
static void test_stop_and_close(void) {
  tm_value v;
  tm_script *s = new_script(TM_SCRIPT_STOPPABLE);
  WELL(RUN(s, "co = coroutine.wrap(function()\n"
              "local guard <close> = setmetatable({}, {__close = function()\n"
              "for i = 1, 3000 do closed = i end end})\n"
              "coroutine.yield() while true do end end) co()"));
  CHECK(tm_script_stop(s) == TM_OK);
  WELL(tm_script_set(s, "x", tm_nil(), &err));
  pthread_t thread;
  runner r = {.script = s, .code = "begun() co()"};
  FAILS(RUN(s, ""), TM_ELUA, "stopped");
  WELL(tm_script_set_function(s, "begun", begun, &r.begun, &err));
  pthread_create(&thread, NULL, run_script, &r);
  while (!atomic_load(&r.begun)) usleep(100);
  CHECK(tm_script_stop(s) == TM_OK);
  pthread_join(thread, NULL);
  CHECK(r.status == TM_ELUA && strstr(r.text, "stopped"));
  WELL(tm_script_get(s, "closed", &v, &err));
  CHECK(v.as.integer == 3000);
  tm_script_free(s);
}

static void test_error_in_callback(void) {
  int count = 0;
  tm_script *s = new_script(0);
  WELL(RUN(s, "local tm = require 'tidemill'\n"
              "for i = 1, 2 do tm.FakePool():apply_async(function() end, {}, "
              "{callback = function() error 'oh' end}) end"));
  FAILS(tm_script_poll(s, &count, &err), TM_ELUA, "oh");
  CHECK(count == 2);
  FAILS(tm_script_poll(s, &count, &err), TM_ELUA, "oh"); /* the other one's */
  CHECK(count == 0);
  WELL(tm_script_poll(s, &count, &err));
  tm_script_free(s);
}

int main(void) {
  heap h = {0};
  rt = new_runtime(&h);
  if (!CHECK(rt)) return check_done();
  test_callbacks();
  test_error_in_callback();
  test_stop();
  test_stop_before_and_after();
  test_stop_and_close();
  tm_runtime_free(rt);
  CHECK(h.live == 0);
  return check_done();
}
