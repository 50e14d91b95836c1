/*
 * Kernels by the name that other processes know them by: what is found, what
 * is brought, and what is said of the others.
 */
#include <string.h>

#include "base/error.h"
#include "check.h"
#include "run/kernel.h"

static check_heap heap;
static const tm__mem mem = {.fn = check_alloc, .user = &heap};

static int nothing(const tm_call *c, const tm_arg *a) {
  (void)c;
  (void)a;
  return 0;
}

static const tm_kernel entry = {"nothing", nothing, TM_KIND_RANGE, "f64 x",
                                NULL,      0,       NULL,          NULL};

static bool refuses(tm__kernels *ks, tm__kernel_name n, const char *why) {
  tm_error e = {.text = ""};
  tm__kernel *k;
  if (tm__kernels_resolve(ks, &n, &k, &e) == TM_OK) return false;
  if (strstr(e.text, why)) return true;
  fprintf(stderr, "%s\n", e.text);
  return false;
}

static void test_host(tm__kernels *ks) {
  tm__kernel_name n = {.path = "", .name = "nothing"};
  tm__kernel *k = NULL;
  CHECK(refuses(ks, n, "kernel 'nothing' is a function of the host program"));
  CHECK(tm__kernels_add(ks, &entry, NULL) == TM_OK);
  CHECK(tm__kernels_resolve(ks, &n, &k, NULL) == TM_OK);
  CHECK(k && k->entry.run == nothing);
  n.signature = "f64 x";
  CHECK(tm__kernels_resolve(ks, &n, &k, NULL) == TM_OK);
  n.signature = "f64[] x";
  CHECK(refuses(ks, n, "kernel 'nothing' is another one"));
}

static void test_libraries(tm__kernels *ks) {
  tm__kernel_name n = {.path = "./no.so", .name = "f"};
  CHECK(refuses(ks, n, "kernel 'f' of ./no.so: ./no.so: cannot open"));
  n.path = "libm.so.6";
  CHECK(refuses(ks, n, "kernel 'f' of libm.so.6: libm.so.6 is no library of"));
}

static int define(tm__kernels *ks, const char *path, const char *name,
                  tm__kernel **out, tm_error *e) {
  tm_kernel k = entry;
  k.name = name;
  if (strcmp(name, "bad") == 0) return tm__fail(e, TM_EINVAL, "no such name");
  return tm__kernels_define(ks, path, &k, NULL, out, e);
}

static void test_defined(tm__kernels *ks) {
  tm__kernel_name n = {.path = "made", .name = "good", .defined = true};
  tm__kernel *k = NULL, *again = NULL;
  tm__kernels_set_define(ks, define);
  CHECK(tm__kernels_resolve(ks, &n, &k, NULL) == TM_OK);
  CHECK(k && tm__kernel_name_of(k).defined);
  CHECK(tm__kernels_resolve(ks, &n, &again, NULL) == TM_OK && again == k);
  n.name = "bad";
  CHECK(refuses(ks, n, "kernel 'bad' of made: no such name"));
}

int main(void) {
  tm__kernels ks;
  tm__kernels_init(&ks, &mem);
  test_host(&ks);
  test_libraries(&ks);
  test_defined(&ks);
  tm__kernels_term(&ks);
  CHECK(heap.live == 0);
  return check_done();
}
