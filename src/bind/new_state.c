#include "bind/new_state.h"

#include "bind/slabs.h"
#include "run/runtime.h"

/* The allocator of a state, which lives as long as the state's own block: that
   is the last that Lua frees. */
typedef struct allocator {
  tm__slabs slabs;
  tm__mem mem;
} allocator;

lua_State *tm__new_state(const tm__mem *mem) {
  allocator *a = tm__alloc(mem, sizeof *a);
  if (!a) return NULL;
  a->mem = *mem;
  tm__slabs_init(&a->slabs, &a->mem);
  lua_State *L = lua_newstate(tm__slabs_alloc, &a->slabs);
  if (L) {
    a->slabs.anchor = lua_getextraspace(L);
    return L;
  }
  tm__slabs_term(&a->slabs);
  tm__free(mem, a);
  return NULL;
}

struct lua_State *tm_lua_new(tm_runtime *rt) {
  return rt && !atomic_load(&rt->closed) ? tm__new_state(&rt->mem) : NULL;
}
