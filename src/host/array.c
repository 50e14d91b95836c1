#include "host/array.h"

#include <string.h>

/* Sizes for which it is worth asking what the machine has. */
#define LARGE ((size_t)16 << 20)

/* ---- checks ---- */

static int check_shape(tm__array *a, int dtype, int rank, const int64_t *shape,
                       const char *function, tm_error *e) {
  uint64_t extents[TM__RANK_MAX];
  if (dtype < 0 || dtype >= TM__DTYPES)
    return tm__fail(e, TM_EINVAL, "%s: unknown dtype %d", function, dtype);
  if (rank < 1 || rank > TM__RANK_MAX)
    return tm__fail(e, TM_EINVAL, "%s: rank must be 1 to %d (got %d)", function,
                    TM__RANK_MAX, rank);
  if (!shape) return tm__host_null(e, function);
  for (int i = 0; i < rank; i++) {
    if (shape[i] < 0)
      return tm__fail(e, TM_EINVAL, "%s: extent %d is negative (%lld)",
                      function, i, (long long)shape[i]);
    extents[i] = (uint64_t)shape[i];
  }
  if (!tm__array_shape(a, dtype, rank, extents))
    return tm__fail(e, TM_EINVAL, "%s: larger than any memory", function);
  return TM_OK;
}

/* A size that the machine does not have is refused, not killed for later. */
static int check_room(tm_runtime *rt, size_t bytes, tm_error *e) {
  tm__arena_stats stats;
  if (bytes < LARGE) return TM_OK;
  uint64_t limit = tm__memory_limit();
  tm__arena_stat(rt->arena, &stats);
  if (stats.used <= limit && bytes <= limit - stats.used) return TM_OK;
  return tm__fail(e, TM_ENOMEM,
                  "not enough memory for an array of %zu bytes: this process "
                  "may use %llu, and %zu are in use",
                  bytes, (unsigned long long)limit, stats.used);
}

static tm_array *allocate(tm_runtime *rt) {
  tm_array *a = tm__calloc(&rt->mem, 1, sizeof *a);
  if (!a) return NULL;
  atomic_init(&a->refs, 1);
  a->rt = tm__runtime_ref(rt);
  return a;
}

static void discard(tm_array *a) {
  tm_runtime *rt = a->rt;
  tm__free(&rt->mem, a);
  tm__runtime_unref(rt);
}

static int no_memory(tm_error *e) {
  return tm__fail(e, TM_ENOMEM, "not enough memory for an array");
}

/* ---- making ---- */

/* Entries of this kind are never updated: the memory stays where it is while
   there is a count on it. */
static int locate(tm_array *a, tm_error *e) {
  tm__pin pin;
  tm__store *store = a->rt->store;
  int status = tm__store_pin(store, a->array.key, &pin, e);
  if (status) return status;
  a->array.data = (unsigned char *)(uintptr_t)pin.bytes;
  tm__store_unpin(store, &pin);
  return TM_OK;
}

int tm_array_new(tm_array **out, tm_runtime *rt, int dtype, int rank,
                 const int64_t *shape, tm_error *e) {
  static const char function[] = "tm_array_new";
  tm__array view = {0};
  if (!out) return tm__host_null(e, function);
  *out = NULL;
  int status = tm__host_open(rt, function, e);
  if (!status) status = check_shape(&view, dtype, rank, shape, function, e);
  if (!status) status = check_room(rt, tm__array_bytes(&view), e);
  if (status) return status;
  tm_array *a = allocate(rt);
  if (!a) return no_memory(e);
  a->array = view;
  status = tm__store_add(rt->store, TM__BUFFER, 0, NULL, tm__array_bytes(&view),
                         &a->array.key, e);
  if (!status) status = locate(a, e);
  if (status) {
    discard(a);
    return status;
  }
  *out = a;
  return TM_OK;
}

static int check_memory(const void *data, const tm__array *a, unsigned flags,
                        const char *function, tm_error *e) {
  size_t size = tm__dtype_size(a->dtype), align = size < 8 ? size : 8;
  if (flags & ~TM_ARRAY_READONLY)
    return tm__fail(e, TM_EINVAL, "%s: unknown flags 0x%x", function, flags);
  if (!data && a->n) return tm__host_null(e, function);
  if ((uintptr_t)data % align)
    return tm__fail(e, TM_EINVAL, "%s: the data is not aligned to %zu bytes",
                    function, align);
  return TM_OK;
}

static int add_wrap(tm_array *a, void *data, tm_release_fn release, void *user,
                    tm_error *e) {
  tm__wrap *wrap = tm__wrap_new(&a->rt->mem, data, release, user);
  if (!wrap) return no_memory(e);
  tm__wrapped w = {.process = wrap->process,
                   .data = data,
                   .size = tm__array_bytes(&a->array)};
  tm__content c = {.bytes = &w, .len = sizeof w, .wrap = wrap};
  int status = tm__store_put(a->rt->store, TM__BUFFER, 0, &c, &a->array.key, e);
  if (status) tm__free(&a->rt->mem, wrap);
  return status;
}

int tm_array_wrap(tm_array **out, tm_runtime *rt, void *data, int dtype,
                  int rank, const int64_t *shape, unsigned flags,
                  tm_release_fn release, void *user, tm_error *e) {
  static const char function[] = "tm_array_wrap";
  tm__array view = {0};
  if (!out) return tm__host_null(e, function);
  *out = NULL;
  int status = tm__host_open(rt, function, e);
  if (!status) status = check_shape(&view, dtype, rank, shape, function, e);
  if (!status) status = check_memory(data, &view, flags, function, e);
  if (status) return status;
  tm_array *a = allocate(rt);
  if (!a) return no_memory(e);
  a->array = view;
  a->array.data = data;
  a->array.wrapped = true;
  a->array.readonly = flags & TM_ARRAY_READONLY;
  status = add_wrap(a, data, release, user, e);
  if (status) {
    discard(a);
    return status;
  }
  *out = a;
  return TM_OK;
}

tm_array *tm__hostarray_of(tm_runtime *rt, const tm__array *view,
                           tm__map *map) {
  tm_array *a = allocate(rt);
  if (!a) return NULL;
  if (!tm__store_retain(rt->store, view->key)) {
    discard(a);
    return NULL;
  }
  a->array = *view;
  a->map = map;
  tm__maps_ref(&rt->maps, map);
  return a;
}

void tm__hostarray_value(const tm__array *a, tm__value *out) {
  out->kind = TM__VALUE_ARRAY;
  out->readonly = a->readonly;
  out->arg.p = a->data;
  out->arg.n = (int64_t)a->n;
  out->arg.shape = (const int64_t *)a->shape;
  out->arg.rank = a->rank;
  out->arg.dtype = a->dtype;
}

/* ---- references ---- */

tm_array *tm_array_retain(tm_array *a) {
  if (a) atomic_fetch_add(&a->refs, 1);
  return a;
}

void tm_array_release(tm_array *a) {
  if (!a || atomic_fetch_sub(&a->refs, 1) != 1) return;
  tm__maps_close(&a->rt->maps, a->map);
  if (tm__runtime_ours(a->rt)) tm__store_release(a->rt->store, a->array.key);
  discard(a);
}

/* ---- asking ---- */

void *tm_array_data(const tm_array *a) { return a ? a->array.data : NULL; }

int tm_array_dtype(const tm_array *a) { return a ? a->array.dtype : -1; }

int tm_array_rank(const tm_array *a) { return a ? a->array.rank : 0; }

const int64_t *tm_array_shape(const tm_array *a) {
  return a ? (const int64_t *)a->array.shape : NULL;
}

int64_t tm_array_size(const tm_array *a) { return a ? (int64_t)a->array.n : 0; }

size_t tm_array_bytes(const tm_array *a) {
  return a ? tm__array_bytes(&a->array) : 0;
}

int tm_array_readonly(const tm_array *a) { return a && a->array.readonly; }
