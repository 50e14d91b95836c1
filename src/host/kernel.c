/*
 * kernel.c: libraries of kernels, registered as the host's own
 */
#include "host/host.h"

/* Each kernel of a library, under its own name. */
static int register_all(tm_runtime *rt, const tm__library *library,
                        tm_error *e) {
  int status = TM_OK;
  for (tm__kernel *k = tm__kernels_next(&rt->kernels, library, NULL);
       k && !status; k = tm__kernels_next(&rt->kernels, library, k)) {
    tm_kernel entry = k->entry;
    entry.name = k->name;
    status = tm__kernels_add(&rt->kernels, &entry, e);
  }
  return status;
}

int tm_kernel_load(tm_runtime *rt, const char *path, tm_error *e) {
  const tm__library *library;
  int status = tm__host_open(rt, "tm_kernel_load", e);
  if (status) return status;
  if (!path) return tm__host_null(e, "tm_kernel_load");
  status = tm__kernels_open(&rt->kernels, path, &library, e);
  return status ? status : register_all(rt, library, e);
}
