/* The allocator of Lua states: blocks keep what is in them, memory
   goes back, and its lack is told. */
#include "bind/slabs.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "bind/new_state.h"

#include "check.h"

enum { BLOCKS = 20000, LARGEST = 600 };

typedef struct heap {
  long blocks; /* that the allocator has given and not got back */
  long left;   /* it fails when it has given so many; -1: never */
} heap;

static void *heap_alloc(void *user, void *ptr, size_t size) {
  heap *h = user;
  if (size && h->left == 0) return NULL;
  if (size && h->left > 0) h->left--;
  if (!ptr) h->blocks++;
  if (ptr && !size) h->blocks--;
  return tm__heap_alloc(NULL, ptr, size);
}

typedef struct block {
  unsigned char *data;
  size_t size;
  unsigned char byte;
} block;

static block blocks[BLOCKS];
static bool good; /* each block was aligned and kept what was in it */

static uint32_t random_number(void) {
  static uint64_t state = 26;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33);
}

static bool holds(const block *b, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (b->data[i] != b->byte) return false;
  return true;
}

/* To a size, 0 among them, as Lua does it. False: there was no memory. */
static bool resize(tm__slabs *s, block *b, size_t size) {
  size_t kept = b->size < size ? b->size : size;
  if (size == 0 && b->data) good = good && holds(b, b->size);
  void *data = tm__slabs_alloc(s, b->data, b->data ? b->size : 5, size);
  if (!data && size) return false;
  b->data = data;
  b->size = size;
  if (!size) return true;
  good = good && (uintptr_t)data % 16 == 0 && holds(b, kept);
  b->byte = (unsigned char)random_number();
  memset(b->data, b->byte, size);
  return true;
}

static void free_all(tm__slabs *s) {
  for (int i = 0; i < BLOCKS; i++) resize(s, &blocks[i], 0);
}

static void test_blocks(void) {
  heap h = {.left = -1};
  tm__mem mem = {heap_alloc, &h};
  tm__slabs s;
  tm__slabs_init(&s, &mem);
  good = true;
  for (int i = 0; i < 10 * BLOCKS; i++) {
    block *b = &blocks[random_number() % BLOCKS];
    good = resize(&s, b, random_number() % LARGEST) && good;
  }
  free_all(&s);
  CHECK(good);
  tm__slabs_term(&s);
  CHECK(h.blocks == 0);
}

/* What small blocks took serves other sizes, and goes back. */
static void test_memory_goes_back(void) {
  heap h = {.left = -1};
  tm__mem mem = {heap_alloc, &h};
  tm__slabs s;
  tm__slabs_init(&s, &mem);
  for (int i = 0; i < BLOCKS; i++) resize(&s, &blocks[i], 240);
  long most = h.blocks;
  free_all(&s);
  CHECK(most > 10 && h.blocks <= 4);
  for (int i = 0; i < BLOCKS; i++) resize(&s, &blocks[i], 16);
  CHECK(h.blocks <= 4);
  free_all(&s);
  tm__slabs_term(&s);
  CHECK(h.blocks == 0);
}

static void test_no_memory(void) {
  heap h = {.left = 3};
  tm__mem mem = {heap_alloc, &h};
  tm__slabs s;
  int given = 0;
  tm__slabs_init(&s, &mem);
  while (given < BLOCKS && resize(&s, &blocks[given], 200)) given++;
  CHECK(given > 100 && given < BLOCKS);
  CHECK(!resize(&s, &blocks[0], 2000)); /* and is still what it was */
  CHECK(blocks[0].size == 200 && holds(&blocks[0], 200));
  resize(&s, &blocks[1], 0);
  CHECK(resize(&s, &blocks[1], 200));
  free_all(&s);
  tm__slabs_term(&s);
  CHECK(h.blocks == 0);
}

static int open_libraries(lua_State *L) {
  luaL_openlibs(L);
  return 0;
}

/* False: there was no memory for the state, or in it. */
static bool run_in_new_state(const tm__mem *mem) {
  static const char script[] =
      "local t = {} for i = 1, 2000 do t[i] = {i, 'item ' .. i} end "
      "setmetatable(t, {__gc = function() t = nil end}) return #t";
  lua_State *L = tm__new_state(mem);
  if (!L) return false;
  lua_pushcfunction(L, open_libraries);
  bool ran = !lua_pcall(L, 0, 0, 0) && !luaL_dostring(L, script) &&
             lua_tointeger(L, -1) == 2000;
  lua_close(L);
  return ran;
}

/* All that a state had goes with it, wherever memory ran out. */
static void test_states(void) {
  heap h = {.left = -1};
  tm__mem mem = {heap_alloc, &h};
  CHECK(run_in_new_state(&mem));
  CHECK(h.blocks == 0);
  int requests = 0;
  do {
    h.left = requests++;
    bool ran = run_in_new_state(&mem);
    if (h.blocks) CHECK(h.blocks == 0);
    if (ran) break;
  } while (requests < 10000);
  CHECK(requests > 10 && requests < 10000);
}

int main(void) {
  test_blocks();
  test_memory_goes_back();
  test_no_memory();
  test_states();
  return check_done();
}
