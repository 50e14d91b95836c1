/*
 * kernel.c: libraries of kernels, registered as the host's own
 */
#include "host/host.h"

int tm_kernel_load(tm_runtime *rt, const char *path, tm_error *e) {
  const tm__library *library;
  int status = tm__host_open(rt, "tm_kernel_load", e);
  if (status) return status;
  if (!path) return tm__host_null(e, "tm_kernel_load");
  status = tm__kernels_open(&rt->kernels, path, &library, e);
  return status ? status : tm__kernels_publish(&rt->kernels, library, e);
}
