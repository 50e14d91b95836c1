#include "store/maps.h"

#include <stdbool.h>

#include "base/error.h"

void tm__maps_init(tm__maps *maps, const tm__mem *mem) {
  *maps = (tm__maps){.mem = mem};
  pthread_mutex_init(&maps->lock, NULL);
}

void tm__maps_term(tm__maps *maps) { pthread_mutex_destroy(&maps->lock); }

void tm__maps_before_fork(tm__maps *maps) { pthread_mutex_lock(&maps->lock); }

void tm__maps_after_fork(tm__maps *maps) { pthread_mutex_unlock(&maps->lock); }

static bool same(const tm__file_id *a, const tm__file_id *b) {
  return a->device == b->device && a->inode == b->inode && a->size == b->size &&
         a->seconds == b->seconds && a->nanoseconds == b->nanoseconds;
}

static tm__map *find(const tm__maps *maps, const tm__file_id *id) {
  tm__map *m = maps->first;
  while (m && !same(&m->id, id)) m = m->next;
  return m;
}

/* The lock is held. */
static int make(tm__maps *maps, const char *path, tm__map **out, tm_error *e) {
  tm__map *m = tm__calloc(maps->mem, 1, sizeof *m);
  void *base;
  if (!m) return tm__fail(e, TM_ENOMEM, "not enough memory to map %s", path);
  int status = tm__file_map(path, &base, &m->size, &m->id, e);
  if (status) {
    tm__free(maps->mem, m);
    return status;
  }
  m->base = base;
  m->next = maps->first;
  maps->first = m;
  *out = m;
  return TM_OK;
}

int tm__maps_open(tm__maps *maps, const char *path, const tm__file_id *id,
                  tm__map **out, tm_error *e) {
  tm__file_id now = {0};
  *out = NULL;
  pthread_mutex_lock(&maps->lock);
  /* A file that was replaced is found by its old identity while somebody
     has it mapped. */
  tm__map *m = id ? find(maps, id) : NULL;
  int status = m ? TM_OK : tm__file_identify(path, &now, e);
  if (!status && !m) {
    if (id && !same(&now, id))
      status =
          tm__fail(e, TM_EINVAL, "%s has changed since it was mapped", path);
    else
      m = find(maps, &now);
  }
  if (!status && !m) status = make(maps, path, &m, e);
  if (!status) m->refs++;
  pthread_mutex_unlock(&maps->lock);
  *out = m;
  return status;
}

void tm__maps_ref(tm__maps *maps, tm__map *map) {
  if (!map) return;
  pthread_mutex_lock(&maps->lock);
  map->refs++;
  pthread_mutex_unlock(&maps->lock);
}

static void unlink_map(tm__maps *maps, tm__map *map) {
  tm__map **at = &maps->first;
  while (*at != map) at = &(*at)->next;
  *at = map->next;
}

void tm__maps_close(tm__maps *maps, tm__map *map) {
  if (!map) return;
  pthread_mutex_lock(&maps->lock);
  bool last = --map->refs == 0;
  if (last) unlink_map(maps, map);
  pthread_mutex_unlock(&maps->lock);
  if (!last) return;
  tm__file_unmap((void *)(uintptr_t)map->base, map->size);
  tm__free(maps->mem, map);
}
