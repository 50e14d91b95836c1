#include "run/config.h"

#include <stdbool.h>
#include <string.h>

/* No struct of any version is smaller or larger. */
enum { LEAST = sizeof(size_t) + sizeof(int), MOST = 4096 };

static bool all_zero(const unsigned char *at, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (at[i]) return false;
  return true;
}

int tm__options_read(void *to, size_t size, const void *from, const char *init,
                     tm_error *e) {
  size_t given;
  if (!from) return TM_OK;
  memcpy(&given, from, sizeof given);
  if (given < LEAST || given > MOST)
    return tm__fail(e, TM_EINVAL, "struct_size is %zu: begin with %s", given,
                    init);
  if (given > size &&
      !all_zero((const unsigned char *)from + size, given - size))
    return tm__fail(e, TM_EINVAL,
                    "the options have fields that this library (%s) does not "
                    "know",
                    TM_VERSION);
  memcpy(to, from, given < size ? given : size);
  memcpy(to, &size, sizeof size);
  return TM_OK;
}

void tm__options_init(void *to, size_t given, const void *defaults,
                      size_t size) {
  if (!to || given < sizeof given) return;
  memset(to, 0, given);
  memcpy(to, defaults, given < size ? given : size);
  memcpy(to, &given, sizeof given);
}

static const tm_config config_defaults = {.struct_size = sizeof(tm_config)};

void tm_config_init_sized(tm_config *c, size_t size) {
  tm__options_init(c, size, &config_defaults, sizeof *c);
}

static int check(const tm_config *c, tm_error *e) {
  if (c->threads < 0)
    return tm__fail(e, TM_EINVAL, "threads must be 0 or more (got %d)",
                    c->threads);
  if (c->processes < 0)
    return tm__fail(e, TM_EINVAL, "processes must be 0 or more (got %d)",
                    c->processes);
  if (c->start_method < TM_START_AUTO || c->start_method > TM_START_SPAWN)
    return tm__fail(e, TM_EINVAL, "unknown start_method %d", c->start_method);
  if (c->flags & ~(TM_USE_SIGNALS | TM_USE_CONFIG | TM_USE_STDERR))
    return tm__fail(e, TM_EINVAL, "unknown flags 0x%x", c->flags);
  return TM_OK;
}

int tm__config_read(tm_config *out, const tm_config *given, tm_error *e) {
  *out = config_defaults;
  int status = tm__options_read(out, sizeof *out, given, "tm_config_init", e);
  return status ? status : check(out, e);
}
