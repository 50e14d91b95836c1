#include "store/wrap.h"

#include <unistd.h>

int64_t tm__wrap_process(void) { return (int64_t)getpid(); }

tm__wrap *tm__wrap_new(const tm__mem *mem, void *data, tm_release_fn release,
                       void *user) {
  tm__wrap *w = tm__alloc(mem, sizeof *w);
  if (!w) return NULL;
  *w = (tm__wrap){.mem = mem,
                  .process = tm__wrap_process(),
                  .data = data,
                  .release = release,
                  .user = user};
  return w;
}

/* A child that was forked has a copy of the wrap, and nobody to tell. */
void tm__wrap_end(tm__wrap *w) {
  if (!w || w->process != tm__wrap_process()) return;
  if (w->release) w->release(w->user, w->data);
  tm__free(w->mem, w);
}
