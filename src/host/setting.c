#include "host/setting.h"

#include <string.h>

/*
 * A setting: how it is read and written. Values were checked for their type
 * when set is called: an integer above 0, or one of the words.
 */
typedef struct setting {
  const char *name;
  bool whole;               /* takes an integer */
  bool boolean;             /* takes a boolean */
  bool text;                /* takes any string, and nil */
  const char *const *words; /* that it takes; NULL at the end */
  const char *allowed;      /* for messages */
  tm_value (*get)(tm_runtime *rt);
  /* word: which it was, -1 for none */
  int (*set)(tm_runtime *rt, tm_value v, int word, tm_error *e);
} setting;

static const char *const word_auto[] = {"auto", NULL};
static const char *const methods[] = {"auto", "fork", "spawn", NULL};
static const char *const levels[] = {"error", "warning", "info",
                                     "debug", "TODO",    NULL};

/* ---- each ---- */

static int count_of(const tm_runtime *rt, tm_value v, int word) {
  return word == 0 ? rt->cpus.usable : (int)v.as.integer;
}

static tm_value get_threads(tm_runtime *rt) {
  return tm_integer(atomic_load(&rt->threads));
}

static int set_threads(tm_runtime *rt, tm_value v, int word, tm_error *e) {
  (void)e;
  atomic_store(&rt->threads, count_of(rt, v, word));
  return TM_OK;
}

static tm_value get_processes(tm_runtime *rt) {
  return tm_integer(atomic_load(&rt->processes));
}

static int set_processes(tm_runtime *rt, tm_value v, int word, tm_error *e) {
  (void)e;
  atomic_store(&rt->processes, count_of(rt, v, word));
  return TM_OK;
}

static tm_value get_start_method(tm_runtime *rt) {
  return tm_string(methods[atomic_load(&rt->start_method)]);
}

static int set_start_method(tm_runtime *rt, tm_value v, int word, tm_error *e) {
  (void)v;
  (void)e;
  atomic_store(&rt->start_method, word);
  return TM_OK;
}

static tm_value get_pin(tm_runtime *rt) {
  int pin = atomic_load(&rt->pin);
  return pin == TM__PIN_AUTO ? tm_string("auto") : tm_boolean(pin);
}

static int set_pin(tm_runtime *rt, tm_value v, int word, tm_error *e) {
  int policy = v.type == TM_BOOLEAN && v.as.boolean ? TM__PIN_YES : TM__PIN_NO;
  (void)e;
  atomic_store(&rt->pin, word == 0 ? TM__PIN_AUTO : policy);
  return TM_OK;
}

static tm_value get_log_level(tm_runtime *rt) {
  return tm_string(tm__log_level_name(tm__log_level(&rt->log)));
}

static int set_log_level(tm_runtime *rt, tm_value v, int word, tm_error *e) {
  (void)v;
  (void)e;
  tm__log_set_level(&rt->log, word + 1);
  return TM_OK;
}

static tm_value get_log_file(tm_runtime *rt) {
  pthread_mutex_lock(&rt->lock);
  const char *path = rt->log_file;
  pthread_mutex_unlock(&rt->lock);
  return path ? tm_string(path) : tm_nil();
}

int tm__setting_log_file(tm_runtime *rt, const char *path, tm_error *e) {
  size_t n = path ? strlen(path) + 1 : 0;
  char *copy = n ? tm__alloc(&rt->mem, n) : NULL;
  if (n && !copy)
    return tm__fail(e, TM_ENOMEM, "not enough memory for a log file");
  int status = tm__log_open(&rt->log, path, e);
  if (!status) {
    if (n) memcpy(copy, path, n);
    pthread_mutex_lock(&rt->lock);
    char *before = rt->log_file;
    rt->log_file = copy;
    pthread_mutex_unlock(&rt->lock);
    copy = before;
  }
  tm__free(&rt->mem, copy);
  return status;
}

static int set_log_file(tm_runtime *rt, tm_value v, int word, tm_error *e) {
  char *path = NULL;
  (void)word;
  if (v.type == TM_STRING) {
    path = tm__calloc(&rt->mem, v.as.string.len + 1, 1);
    if (!path)
      return tm__fail(e, TM_ENOMEM, "not enough memory for a log file");
    memcpy(path, v.as.string.text, v.as.string.len);
  }
  int status = tm__setting_log_file(rt, path, e);
  tm__free(&rt->mem, path);
  return status;
}

static tm_value get_arena_size(tm_runtime *rt) {
  tm__arena_stats stats;
  tm__arena_stat(rt->arena, &stats);
  return tm_integer((int64_t)stats.reserved);
}

static int set_arena_size(tm_runtime *rt, tm_value v, int word, tm_error *e) {
  return tm__runtime_arena(rt, word == 0 ? 0 : (size_t)v.as.integer, e);
}

static const setting settings[] = {
    {.name = "threads",
     .whole = true,
     .words = word_auto,
     .allowed = "a whole number from 1, or \"auto\"",
     .get = get_threads,
     .set = set_threads},
    {.name = "processes",
     .whole = true,
     .words = word_auto,
     .allowed = "a whole number from 1, or \"auto\"",
     .get = get_processes,
     .set = set_processes},
    {.name = "start_method",
     .words = methods,
     .allowed = "\"auto\", \"fork\" or \"spawn\"",
     .get = get_start_method,
     .set = set_start_method},
    {.name = "pin",
     .boolean = true,
     .words = word_auto,
     .allowed = "a boolean, or \"auto\"",
     .get = get_pin,
     .set = set_pin},
    {.name = "log_level",
     .words = levels,
     .allowed = "\"error\", \"warning\", \"info\", \"debug\" or \"TODO\"",
     .get = get_log_level,
     .set = set_log_level},
    {.name = "log_file",
     .text = true,
     .allowed = "the name of a file, or nil",
     .get = get_log_file,
     .set = set_log_file},
    {.name = "arena_size",
     .whole = true,
     .words = word_auto,
     .allowed = "a whole number of bytes from 1, or \"auto\"",
     .get = get_arena_size,
     .set = set_arena_size}};

enum { COUNT = sizeof settings / sizeof *settings };

/* ---- all ---- */

const char *tm__setting_name(int i) {
  return i < COUNT ? settings[i].name : NULL;
}

static const setting *find(const char *name) {
  for (int i = 0; i < COUNT; i++)
    if (strcmp(settings[i].name, name) == 0) return &settings[i];
  return NULL;
}

static int find_word(const setting *s, const tm_value *v) {
  if (v->type != TM_STRING || !v->as.string.text) return -1;
  for (int i = 0; s->words && s->words[i]; i++)
    if (strlen(s->words[i]) == v->as.string.len &&
        memcmp(s->words[i], v->as.string.text, v->as.string.len) == 0)
      return i;
  return -1;
}

static bool fits(const setting *s, const tm_value *v) {
  if (v->type == TM_INTEGER)
    return s->whole && v->as.integer >= 1 &&
           (s->set == set_arena_size || v->as.integer <= INT32_MAX);
  if (v->type == TM_BOOLEAN) return s->boolean;
  if (v->type == TM_STRING && v->as.string.text)
    return s->text && !memchr(v->as.string.text, '\0', v->as.string.len);
  return v->type == TM_NIL && s->text;
}

static int unknown(const char *function, const char *name, tm_error *e) {
  return tm__fail(e, TM_EINVAL,
                  "%s: unknown setting '%.60s' (threads, processes, "
                  "start_method, pin, log_level, log_file, arena_size)",
                  function, name);
}

int tm_setting_get(tm_runtime *rt, const char *name, tm_value *out,
                   tm_error *e) {
  static const char function[] = "tm_setting_get";
  int status = tm__host_open(rt, function, e);
  if (status) return status;
  if (!name || !out) return tm__host_null(e, function);
  *out = tm_nil();
  const setting *s = find(name);
  if (!s) return unknown(function, name, e);
  *out = s->get(rt);
  return TM_OK;
}

int tm_setting_set(tm_runtime *rt, const char *name, tm_value value,
                   tm_error *e) {
  static const char function[] = "tm_setting_set";
  int status = tm__host_open(rt, function, e);
  if (status) return status;
  if (!name) return tm__host_null(e, function);
  const setting *s = find(name);
  if (!s) return unknown(function, name, e);
  int word = find_word(s, &value);
  if (word >= 0 || fits(s, &value)) return s->set(rt, value, word, e);
  return tm__fail(e, TM_EINVAL, "%s: %s must be %s", function, name,
                  s->allowed);
}
