/*
 * test_circle.c: two pools whose tasks wait for each other
 */
#include "toy.h"

enum { DEPTH = 4 };

#define LIMIT ((uint64_t)20 * 1000000000u)

static tm_runtime *rt;
static tm__pool *pools[2];

/* Its number is how often it was handed on. */
static int hand_on(toy *t, tm__piece *p, uint64_t i, uint64_t *value) {
  int *depth = t->more, next = *depth + 1;
  toy inner = {.run = hand_on, .more = &next};
  *value = i;
  if (next > DEPTH) return TOY_OK;
  tm__job *job = toy_submit(pools[next % 2], &inner, 3, NULL);
  if (!CHECK(job && !tm__pool_wait(job, p->worker, toy_is_done, NULL, LIMIT)))
    exit(check_done());
  tm__job_unref(job);
  return TOY_OK;
}

static void test_in_circles(int workers) {
  int depth = 0;
  toy t = {.run = hand_on, .more = &depth};
  for (int i = 0; i < 2; i++)
    CHECK(toy_pool(&pools[i], rt, workers, NULL) == TM_OK);
  tm__job *job = toy_submit(pools[0], &t, 1, NULL);
  CHECK(job && toy_wait(job));
  tm__job_unref(job);
  for (int i = 0; i < 2; i++) {
    CHECK(atomic_load(&pools[i]->blocked) == 0);
    toy_end(pools[i]);
  }
}

int main(void) {
  rt = toy_runtime(NULL);
  for (int workers = 1; workers <= 2; workers++) test_in_circles(workers);
  tm_runtime_free(rt);
  return check_done();
}
