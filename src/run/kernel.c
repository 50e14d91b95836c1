#include "run/kernel.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"

/* ---- one kernel ---- */

static char *copy_text(const tm__mem *mem, const char *text) {
  size_t n = strlen(text) + 1;
  char *p = tm__alloc(mem, n);
  if (p) memcpy(p, text, n);
  return p;
}

static int no_memory(tm_error *e) {
  return tm__fail(e, TM_ENOMEM, "not enough memory for a kernel");
}

static int bad(const tm_kernel *k, tm_error *e, const char *what) {
  return tm__fail(e, TM_EINVAL, "kernel '%.60s': %s", k->name, what);
}

static const char *skip_space(const char *s) { return s + strspn(s, " \t"); }

/* "sum f64", "f64[3]". */
static int parse_reduce(tm__reduce *r, const tm_kernel *k, tm_error *e) {
  static const char *const words[] = {[TM__REDUCE_SUM] = "sum",
                                      [TM__REDUCE_MIN] = "min",
                                      [TM__REDUCE_MAX] = "max"};
  static const char wrong[] =
      "reduce must be like \"sum f64\", \"min i64\", \"max f64[3]\", or "
      "\"f64[3]\" with a function to combine";
  *r = (tm__reduce){.op = TM__REDUCE_NONE, .count = 1};
  if (!k->reduce) return k->combine ? bad(k, e, wrong) : TM_OK;
  const char *at = skip_space(k->reduce);
  r->op = TM__REDUCE_OWN;
  for (int i = TM__REDUCE_SUM; i <= TM__REDUCE_MAX; i++)
    if (strncmp(at, words[i], 3) == 0) r->op = i;
  if (r->op != TM__REDUCE_OWN) at = skip_space(at + 3);
  size_t len;
  r->dtype = tm__dtype_read(at, &len);
  if (r->dtype != TM_F64 && r->dtype != TM_I64) return bad(k, e, wrong);
  at = skip_space(at + len);
  if (*at == '[') {
    r->count = 0;
    for (at++; *at >= '0' && *at <= '9' && r->count < 1000000; at++)
      r->count = r->count * 10 + (*at - '0');
    if (*at++ != ']' || r->count == 0) return bad(k, e, wrong);
  }
  if (*skip_space(at)) return bad(k, e, wrong);
  if ((r->op == TM__REDUCE_OWN) != (k->combine != NULL))
    return bad(k, e, wrong);
  r->stride = ((size_t)r->count * 8 + 63) / 64 * 64;
  return TM_OK;
}

static void kernel_free(const tm__mem *mem, tm__kernel *k) {
  if (!k) return;
  tm__signature_term(&k->signature);
  tm__free(mem, k->name);
  tm__free(mem, k->user);
  tm__free(mem, k);
}

/* Sizes that are sums with it do not overflow. */
#define SCRATCH_MOST ((size_t)PTRDIFF_MAX / 2)

static int check_entry(const tm_kernel *entry, tm_error *e) {
  if (!entry->name || !entry->name[0])
    return tm__fail(e, TM_EINVAL, "a kernel has no name");
  if (!entry->run) return bad(entry, e, "it has no function");
  if (entry->kind != TM_KIND_RANGE && entry->kind != TM_KIND_ITEM)
    return bad(entry, e, "its kind is neither range nor item");
  if (entry->scratch > SCRATCH_MOST)
    return bad(entry, e, "its scratch is more than any machine has");
  return TM_OK;
}

static int kernel_new(tm__kernel **out, const tm__mem *mem,
                      const tm_kernel *entry, tm_error *e) {
  tm_error why;
  int status = check_entry(entry, e);
  if (status) return status;
  tm__kernel *k = tm__calloc(mem, 1, sizeof *k);
  if (!k) return no_memory(e);
  k->signature.mem = mem;
  k->entry = *entry;
  k->name = copy_text(mem, entry->name);
  status = k->name ? parse_reduce(&k->reduce, entry, e) : no_memory(e);
  if (!status) {
    const char *text = entry->signature ? entry->signature : "";
    status = tm__signature_init(&k->signature, mem, text, &why);
    if (status)
      tm__fail(e, status, "kernel '%.60s': %.400s", entry->name, why.text);
  }
  if (status) {
    kernel_free(mem, k);
    return status;
  }
  *out = k;
  return TM_OK;
}

/* ---- the lists ---- */

static void list_free(const tm__mem *mem, tm__kernel *k) {
  while (k) {
    tm__kernel *next = k->next;
    kernel_free(mem, k);
    k = next;
  }
}

void tm__kernels_init(tm__kernels *ks, const tm__mem *mem) {
  *ks = (tm__kernels){.mem = mem};
  pthread_mutex_init(&ks->lock, NULL);
}

void tm__kernels_before_fork(tm__kernels *ks) { pthread_mutex_lock(&ks->lock); }

void tm__kernels_after_fork(tm__kernels *ks) {
  pthread_mutex_unlock(&ks->lock);
}

void tm__kernels_term(tm__kernels *ks) {
  list_free(ks->mem, ks->first);
  while (ks->libraries) {
    tm__library *library = ks->libraries;
    ks->libraries = library->next;
    tm__free(ks->mem, library->path);
    tm__free(ks->mem, library);
  }
  pthread_mutex_destroy(&ks->lock);
}

/* library NULL: by the name alone. */
static tm__kernel *find_in(tm__kernel *k, const tm__library *library,
                           const char *name) {
  for (; k; k = k->next) {
    bool there = k->library == library || (!library && k->published);
    if (there && strcmp(k->name, name) == 0) return k;
  }
  return NULL;
}

static tm__library *find_library(tm__kernels *ks, const char *path) {
  for (tm__library *l = ks->libraries; l; l = l->next)
    if (strcmp(l->path, path) == 0) return l;
  return NULL;
}

int tm__kernels_add(tm__kernels *ks, const tm_kernel *entry, tm_error *e) {
  tm__kernel *k;
  int status = kernel_new(&k, ks->mem, entry, e);
  if (status) return status;
  pthread_mutex_lock(&ks->lock);
  bool taken = find_in(ks->first, NULL, k->name) != NULL;
  if (!taken) {
    k->next = ks->first;
    ks->first = k;
  }
  pthread_mutex_unlock(&ks->lock);
  if (!taken) return TM_OK;
  kernel_free(ks->mem, k);
  return bad(entry, e, "there is one of this name");
}

/* ---- libraries ---- */

/* Of the first version of the header: up to its last field. */
enum { FIRST_SIZE = offsetof(tm_kernel, combine) + sizeof(void (*)(void)) };

bool tm__kernel_entry(tm_kernel *out, const void *from, size_t size) {
  *out = (tm_kernel){.name = NULL};
  if (size < FIRST_SIZE) return false;
  memcpy(out, from, size < sizeof *out ? size : sizeof *out);
  return true;
}

static int check_table(const tm_kernel_table *table, const char *path,
                       tm_error *e) {
  if (table->abi != TM_KERNEL_ABI)
    return tm__fail(e, TM_EINVAL,
                    "%.300s was compiled for kernels of version %u, this is "
                    "%u: compile it anew",
                    path, table->abi, TM_KERNEL_ABI);
  if (table->size < FIRST_SIZE || !table->kernels)
    return tm__fail(e, TM_EINVAL, "%.300s: its kernel table is malformed",
                    path);
  return TM_OK;
}

/* Reads a table into a list of its own. */
static int read_table(const tm__mem *mem, const tm_kernel_table *table,
                      const char *path, const tm__library *library,
                      tm__kernel **out, tm_error *e) {
  const char *line = (const char *)table->kernels;
  tm_error why;
  tm__kernel *list = NULL, *k;
  for (uint32_t i = 0; i < table->count; i++, line += table->size) {
    tm_kernel entry;
    tm__kernel_entry(&entry, line, table->size);
    int status = kernel_new(&k, mem, &entry, &why);
    if (!status && find_in(list, library, k->name)) {
      kernel_free(mem, k);
      status = bad(&entry, &why, "there are two of this name");
    }
    if (status) {
      list_free(mem, list);
      return tm__fail(e, status, "%.200s: %.290s", path, why.text);
    }
    k->library = library;
    k->next = list;
    list = k;
  }
  *out = list;
  return TM_OK;
}

static const tm_kernel_table *load_table(const char *path, tm_error *e) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    tm__fail(e, TM_ESYS, "%s", dlerror());
    return NULL;
  }
  const tm_kernel_table *table = dlsym(handle, "tidemill_kernel_table");
  if (!table) {
    dlclose(handle);
    tm__fail(e, TM_EINVAL,
             "%.300s is no library of kernels: it has no table of them "
             "(TM_KERNELS, see tidemill_kernel.h)",
             path);
    return NULL;
  }
  return table;
}

static void append(tm__kernels *ks, tm__kernel *list) {
  tm__kernel **end = &list;
  while (*end) end = &(*end)->next;
  *end = ks->first;
  ks->first = list;
}

static tm__library *library_new(tm__kernels *ks, const char *path) {
  tm__library *library = tm__calloc(ks->mem, 1, sizeof *library);
  if (!library) return NULL;
  library->path = copy_text(ks->mem, path);
  if (library->path) return library;
  tm__free(ks->mem, library);
  return NULL;
}

/* ks->lock is held. */
static int open_locked(tm__kernels *ks, const char *path, tm__library **out,
                       tm_error *e) {
  tm__kernel *list;
  *out = find_library(ks, path);
  if (*out) return TM_OK;
  const tm_kernel_table *table = load_table(path, e);
  if (!table) return e ? e->code : TM_ESYS;
  int status = check_table(table, path, e);
  if (status) return status;
  tm__library *library = library_new(ks, path);
  if (!library) return no_memory(e);
  status = read_table(ks->mem, table, path, library, &list, e);
  if (status) {
    tm__free(ks->mem, library->path);
    tm__free(ks->mem, library);
    return status;
  }
  append(ks, list);
  library->next = ks->libraries;
  ks->libraries = library;
  *out = library;
  return TM_OK;
}

int tm__kernels_open(tm__kernels *ks, const char *path, const tm__library **out,
                     tm_error *e) {
  tm__library *library;
  pthread_mutex_lock(&ks->lock);
  int status = open_locked(ks, path, &library, e);
  pthread_mutex_unlock(&ks->lock);
  *out = library;
  return status;
}

/* ks->lock is held. A kernel of the library whose name is taken. */
static const tm__kernel *find_taken(const tm__kernels *ks,
                                    const tm__library *library) {
  for (const tm__kernel *k = ks->first; k; k = k->next)
    if (k->library == library && find_in(ks->first, NULL, k->name)) return k;
  return NULL;
}

int tm__kernels_publish(tm__kernels *ks, const tm__library *library,
                        tm_error *e) {
  pthread_mutex_lock(&ks->lock);
  const tm__kernel *taken = find_taken(ks, library);
  for (tm__kernel *k = taken ? NULL : ks->first; k; k = k->next)
    if (k->library == library) k->published = true;
  pthread_mutex_unlock(&ks->lock);
  if (!taken) return TM_OK;
  return tm__fail(e, TM_EINVAL,
                  "%.200s: kernel '%.60s': there is one of this "
                  "name",
                  library->path, taken->name);
}

/* ks->lock is held. */
static int define_locked(tm__kernels *ks, const char *path, tm__kernel *k,
                         tm_error *e) {
  tm__library *library = find_library(ks, path);
  if (!library) {
    library = library_new(ks, path);
    if (!library) return no_memory(e);
    library->defined = true;
    library->next = ks->libraries;
    ks->libraries = library;
  }
  k->library = library;
  k->next = ks->first;
  ks->first = k;
  return TM_OK;
}

int tm__kernels_define(tm__kernels *ks, const char *path,
                       const tm_kernel *entry, void *user, tm__kernel **out,
                       tm_error *e) {
  tm__kernel *k;
  int status = kernel_new(&k, ks->mem, entry, e);
  if (status) {
    tm__free(ks->mem, user);
    return status;
  }
  k->user = user;
  pthread_mutex_lock(&ks->lock);
  tm__library *library = find_library(ks, path);
  *out = library ? find_in(ks->first, library, entry->name) : NULL;
  bool known = *out != NULL;
  if (!known) {
    status = define_locked(ks, path, k, e);
    *out = k;
  }
  pthread_mutex_unlock(&ks->lock);
  if (known || status) kernel_free(ks->mem, k);
  return status;
}

tm__kernel *tm__kernels_find(tm__kernels *ks, const char *path,
                             const char *name) {
  tm__kernel *k = NULL;
  pthread_mutex_lock(&ks->lock);
  const tm__library *library = path && *path ? find_library(ks, path) : NULL;
  if (library || !path || !*path) k = find_in(ks->first, library, name);
  pthread_mutex_unlock(&ks->lock);
  return k;
}

/* ---- kernels of another process ---- */

void tm__kernels_set_define(tm__kernels *ks, tm__define_fn define) {
  pthread_mutex_lock(&ks->lock);
  ks->define = define;
  pthread_mutex_unlock(&ks->lock);
}

tm__kernel_name tm__kernel_name_of(const tm__kernel *k) {
  const char *signature = k->signature.text; /* NULL: none was parsed */
  return (tm__kernel_name){.path = tm__kernel_path(k),
                           .name = k->name,
                           .signature = signature ? signature : "",
                           .defined = k->library && k->library->defined};
}

static tm__define_fn definer(tm__kernels *ks) {
  pthread_mutex_lock(&ks->lock);
  tm__define_fn define = ks->define;
  pthread_mutex_unlock(&ks->lock);
  return define;
}

/* What is not known here yet; the error does not name the kernel. */
static int bring(tm__kernels *ks, const tm__kernel_name *n, tm__kernel **out,
                 tm_error *e) {
  const tm__library *library;
  tm__define_fn define = n->defined ? definer(ks) : NULL;
  if (!*n->path)
    return tm__fail(e, TM_EINVAL,
                    "is a function of the host program, which this worker "
                    "process does not know; use threads, or fork once it is "
                    "registered");
  if (define) return define(ks, n->path, n->name, out, e);
  int status = tm__kernels_open(ks, n->path, &library, e);
  if (status) return status;
  *out = tm__kernels_find(ks, n->path, n->name);
  return *out ? TM_OK : tm__fail(e, TM_EINVAL, "is not there");
}

static int named(tm_error *e, int status, const tm__kernel_name *n,
                 const char *what) {
  return tm__fail(e, status, "kernel '%.60s'%s%.200s%s %.230s", n->name,
                  *n->path ? " of " : "", n->path, *n->path ? ":" : "", what);
}

int tm__kernels_resolve(tm__kernels *ks, const tm__kernel_name *n,
                        tm__kernel **out, tm_error *e) {
  tm_error why = {.text = ""};
  int status = TM_OK;
  *out = tm__kernels_find(ks, n->path, n->name);
  if (!*out) status = bring(ks, n, out, &why);
  if (status) return named(e, status, n, why.text);
  if (!n->signature || strcmp((*out)->signature.text, n->signature) == 0)
    return TM_OK;
  return named(e, TM_EINVAL, n, "is another one in this worker process");
}

tm__kernel *tm__kernels_next(tm__kernels *ks, const tm__library *library,
                             tm__kernel *k) {
  pthread_mutex_lock(&ks->lock);
  k = k ? k->next : ks->first;
  while (k && k->library != library) k = k->next;
  pthread_mutex_unlock(&ks->lock);
  return k;
}
