#include "host/store.h"

#include <string.h>

#include "host/host.h"
#include "store/counter.h"

/* ---- objects ---- */

/* The bytes with their form before them; NULL: no memory. */
static unsigned char *compose(const tm_runtime *rt, const void *bytes,
                              size_t len) {
  unsigned char *raw = len < SIZE_MAX ? tm__alloc(&rt->mem, len + 1) : NULL;
  if (!raw) return NULL;
  raw[0] = TM__FORM_RAW;
  if (len) memcpy(raw + 1, bytes, len);
  return raw;
}

static int no_memory(tm_error *e, size_t len) {
  return tm__fail(e, TM_ENOMEM, "not enough memory for %zu bytes", len);
}

int tm_store_put(tm_key *out, tm_runtime *rt, const void *bytes, size_t len,
                 tm_error *e) {
  static const char function[] = "tm_store_put";
  if (!out) return tm__host_null(e, function);
  *out = 0;
  int status = tm__host_open(rt, function, e);
  if (status) return status;
  if (!bytes && len) return tm__host_null(e, function);
  unsigned char *raw = compose(rt, bytes, len);
  if (!raw) return no_memory(e, len);
  status = tm__store_add(rt->store, TM__OBJECT, 0, raw, len + 1, out, e);
  tm__free(&rt->mem, raw);
  return status;
}

static int check_kind(tm_runtime *rt, tm_key key, int kind, tm_error *e) {
  int is = tm__store_kind_of(rt->store, key);
  if (is == 0)
    return tm__fail(e, TM_ENOKEY, "key %llu was removed, or never was",
                    (unsigned long long)key);
  if (is == kind) return TM_OK;
  return tm__fail(e, TM_EINVAL, "key %llu is not that of %s",
                  (unsigned long long)key,
                  kind == TM__COUNTER ? "a counter" : "an object");
}

static int read_raw(const tm__pin *pin, void *buffer, size_t size, size_t *len,
                    tm_error *e) {
  if (pin->len == 0 || pin->bytes[0] != TM__FORM_RAW)
    return tm__fail(e, TM_EINVAL,
                    "the object is not a string: only Lua can read it");
  size_t n = pin->len - 1;
  if (len) *len = n;
  if (!buffer) return TM_OK;
  if (n > size)
    return tm__fail(e, TM_EINVAL, "the object has %zu bytes, the buffer %zu", n,
                    size);
  if (n) memcpy(buffer, pin->bytes + 1, n);
  return TM_OK;
}

int tm_store_get(tm_runtime *rt, tm_key key, void *buffer, size_t size,
                 size_t *len, tm_error *e) {
  tm__pin pin;
  if (len) *len = 0;
  int status = tm__host_open(rt, "tm_store_get", e);
  if (!status) status = check_kind(rt, key, TM__OBJECT, e);
  if (!status) status = tm__store_pin(rt->store, key, &pin, e);
  if (status) return status;
  status = read_raw(&pin, buffer, size, len, e);
  tm__store_unpin(rt->store, &pin);
  return status;
}

int tm_store_update(tm_runtime *rt, tm_key key, const void *bytes, size_t len,
                    tm_error *e) {
  static const char function[] = "tm_store_update";
  int status = tm__host_open(rt, function, e);
  if (!status) status = check_kind(rt, key, TM__OBJECT, e);
  if (status) return status;
  if (!bytes && len) return tm__host_null(e, function);
  unsigned char *raw = compose(rt, bytes, len);
  if (!raw) return no_memory(e, len);
  status = tm__store_update(rt->store, key, raw, len + 1, e);
  tm__free(&rt->mem, raw);
  return status;
}

int tm_store_remove(tm_runtime *rt, tm_key key, tm_error *e) {
  int status = tm__host_open(rt, "tm_store_remove", e);
  if (status) return status;
  if (tm__store_kind_of(rt->store, key) != TM__COUNTER)
    status = check_kind(rt, key, TM__OBJECT, e);
  if (!status) tm__store_remove(rt->store, key);
  return status;
}

size_t tm_store_count(tm_runtime *rt) {
  return rt ? tm__store_count(rt->store) : 0;
}

/* ---- counters ---- */

int tm_counter_new(tm_key *out, tm_runtime *rt, tm_error *e) {
  tm__counter c = {.every = 0};
  if (!out) return tm__host_null(e, "tm_counter_new");
  *out = 0;
  int status = tm__host_open(rt, "tm_counter_new", e);
  if (status) return status;
  return tm__store_add(rt->store, TM__COUNTER, 0, &c, sizeof c, out, e);
}

int tm_counter_add(tm_runtime *rt, tm_key key, int64_t inc, int64_t *value,
                   tm_error *e) {
  tm__pin pin;
  int status = tm__host_open(rt, "tm_counter_add", e);
  if (!status) status = check_kind(rt, key, TM__COUNTER, e);
  if (!status) status = tm__store_pin(rt->store, key, &pin, e);
  if (status) return status;
  tm__counter *c = (tm__counter *)(uintptr_t)pin.bytes;
  /* relaxed: a count orders nothing else; the answer is this caller's own,
     whoever adds too. Unsigned, since it may wrap. */
  int64_t before =
      atomic_fetch_add_explicit(&c->value, inc, memory_order_relaxed);
  if (value) *value = (int64_t)((uint64_t)before + (uint64_t)inc);
  tm__store_unpin(rt->store, &pin);
  return TM_OK;
}
