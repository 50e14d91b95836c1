/*
 * test_job.c: claims, results and ends of jobs, with the test's own threads
 * in the place of workers
 */
#include "run/inbox.h"
#include "run/runs.h"
#include "toy.h"

enum { CLAIMERS = 4 };

static tm_runtime *rt;
static tm__pool *pool; /* with no workers at work: it runs in the caller */

static void make_pool(void) {
  tm__pool_options o = {
      .kind = &tm__worker_inline, .guest = &toy_guest, .workers = 1};
  CHECK(tm__pool_new(&pool, rt, &o, NULL) == TM_OK);
}

static tm__job *new_job(uint64_t n, tm__spec spec) {
  static toy t = {.run = toy_square};
  tm__job *job;
  CHECK(toy_job(&job, pool, &t, n, &spec) == TM_OK);
  return job;
}

/* Publishes values i * i for a claim. */
static void answer(tm__job *job, tm__claim *c) {
  tm__piece p = {.job = job, .first = c->first, .last = c->last};
  tm__buf_init(&p.out, pool->mem);
  tm__keys_init(&p.keys, pool->mem);
  CHECK(tm__msg_open(&p.out));
  for (uint64_t i = c->first; i < c->last; i++) toy_write(&p, 0, i * i);
  tm__msg *m = tm__msg_seal(&p.out, &p.keys);
  tm__job_publish(job, c, m, c->last - c->first, c->last - c->first);
}

static tm__msg *item_message(uint64_t i) {
  tm__buf b;
  tm__keys keys;
  tm__buf_init(&b, pool->mem);
  tm__keys_init(&keys, pool->mem);
  CHECK(tm__msg_open(&b) && tm__buf_put(&b, &i, sizeof i));
  return tm__msg_seal(&b, &keys);
}

static void take(tm__job *job, uint64_t i) {
  tm__msg *m = tm__job_take(job, i);
  CHECK(m && m->first == i);
  tm__msg_unref(m, pool->mem, rt->store);
}

/* ---- claims ---- */

typedef struct claimer {
  tm__job *job;
  _Atomic unsigned char *seen; /* how often each item was claimed */
  uint64_t most;
  uint32_t index;
  bool gives_back; /* the second half of each claim, once */
} claimer;

static void *claim_all(void *argument) {
  claimer *c = argument;
  tm__claim claim;
  while (tm__job_claim(c->job, c->most, CLAIMERS, c->index, &claim)) {
    uint64_t half = claim.first + (claim.last - claim.first) / 2;
    if (c->gives_back && claim.tries == 0 && half > claim.first) {
      tm__claim rest;
      tm__runs_split(c->job, &claim, half, &rest);
      rest.tries = 1;
      tm__job_give_back(c->job, &rest);
    }
    for (uint64_t i = claim.first; i < claim.last; i++)
      atomic_fetch_add(&c->seen[i], 1);
    answer(c->job, &claim);
  }
  return NULL;
}

static void hammer(uint64_t n, uint64_t chunk, bool gives_back) {
  pthread_t threads[CLAIMERS];
  tm__job *job = new_job(n, (tm__spec){.chunk = chunk});
  claimer c = {.job = job,
               .seen = calloc(n, 1),
               .most = chunk ? chunk : 64,
               .gives_back = gives_back};
  for (int i = 0; i < CLAIMERS; i++)
    pthread_create(&threads[i], NULL, claim_all, &c);
  for (int i = 0; i < CLAIMERS; i++) pthread_join(threads[i], NULL);
  claim_all(&c); /* what was given back last */
  uint64_t once = 0;
  for (uint64_t i = 0; i < n; i++) once += c.seen[i] == 1;
  CHECK(once == n);
  CHECK(tm__job_done(job) && job->settled == n);
  toy_outcome o = toy_results(job);
  CHECK(o.ok == n && o.wrong == 0);
  free((void *)c.seen);
  tm__job_unref(job);
}

static void test_claims_partition(void) {
  const uint64_t sizes[] = {1, 2, 7, 1000, 20011};
  const uint64_t chunks[] = {0, 1, 3, 1000, UINT64_MAX};
  for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
      hammer(sizes[n], chunks[c], false);
      hammer(sizes[n], chunks[c], true);
    }
}

static void test_measured_claims_leave_a_fair_share(void) {
  tm__claim claim;
  tm__job *job = new_job(800, (tm__spec){0});
  CHECK(tm__job_claim(job, UINT64_MAX, 4, 0, &claim));
  CHECK(claim.first == 0 && claim.last == 101); /* 800 / (2 * 4) + 1 */
  tm__job_unref(job);
}

static void test_given_back_is_cut(void) {
  tm__claim claim, rest;
  tm__job *job = new_job(10, (tm__spec){.chunk = 10});
  CHECK(tm__job_claim(job, 10, 1, 0, &claim));
  CHECK(tm__job_exhausted(job));
  tm__runs_split(job, &claim, 5, &rest);
  rest.tries = 2;
  tm__job_give_back(job, &rest);
  CHECK(!tm__job_exhausted(job));
  CHECK(tm__job_claim(job, 2, 1, 0, &claim));
  CHECK(claim.first == 5 && claim.last == 7 && claim.tries == 2);
  CHECK(tm__job_claim(job, UINT64_MAX, 1, 0, &claim));
  CHECK(claim.first == 7 && claim.last == 10);
  CHECK(!tm__job_claim(job, 1, 1, 0, &claim));
  tm__job_unref(job);
}

static void nothing_found(tm__job *job, tm__claim *claim, void *argument) {
  (void)job, (void)claim, (void)argument;
  CHECK(false);
}

/* A worker that was killed between giving back and saying where. */
static void test_given_back_without_a_note(void) {
  tm__claim claim;
  tm__job *job = new_job(10, (tm__spec){.chunk = 5});
  CHECK(tm__job_claim(job, 5, 1, 1, &claim));
  CHECK(tm__job_claim(job, 5, 1, 1, &claim) && claim.first == 5);
  tm__runs_give_back(job, &claim);
  atomic_store(&job->again, 0);
  CHECK(!tm__job_claimable(job));
  tm__runs_each(job, 2, nothing_found, NULL);
  CHECK(tm__job_claim(job, 5, 1, 0, &claim) && claim.first == 5);
  CHECK(!tm__job_claim(job, 5, 1, 0, &claim));
  tm__job_unref(job);
}

static void give_back(tm__job *job, tm__claim *claim, void *argument) {
  ++*(int *)argument;
  tm__job_give_back(job, claim);
}

/* The smallest stream has one place, again and again. */
static void test_runs_of_a_narrow_stream(void) {
  tm__claim c;
  int found = 0;
  tm__job *job = new_job(0, (tm__spec){.chunk = 1, .window = 1});
  for (uint64_t i = 0; i < 5; i++) {
    tm__job_feed(job, item_message(i));
    CHECK(tm__job_claim(job, 1, 1, 1, &c) && c.first == i);
    tm__runs_each(job, 1, give_back, &found);
    CHECK(tm__job_claim(job, 1, 1, 0, &c) && c.first == i);
    answer(job, &c);
    take(job, i);
    CHECK(tm__job_room(job, i + 1) == 1);
  }
  CHECK(found == 5);
  tm__job_close(job);
  tm__job_unref(job);
}

/* ---- ends ---- */

static int inbox_length(tm__inbox *box) {
  int n = 0;
  tm__job *job = tm__inbox_take(box);
  while (job) {
    tm__job *next = job->next_done;
    tm__job_unref(job);
    job = next;
    n++;
  }
  return n;
}

static void *stop_job(void *job) {
  tm__job_stop(job, TM__FAIL_CANCELLED);
  return NULL;
}

/* Claims, stops and failures all at once: it ends once, with all settled. */
static void test_ends_once(void) {
  tm__inbox *box = tm__inbox_new(&rt->inboxes, pool->mem);
  for (int round = 0; round < 50; round++) {
    pthread_t threads[3];
    uint64_t n = 2000;
    tm__job *job = new_job(n, (tm__spec){0});
    claimer c = {.job = job, .seen = calloc(n, 1), .most = 7};
    tm__inbox_expect(box, job);
    pthread_create(&threads[0], NULL, claim_all, &c);
    pthread_create(&threads[1], NULL, claim_all, &c);
    pthread_create(&threads[2], NULL, stop_job, job);
    stop_job(job);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    CHECK(tm__job_done(job) && job->settled == n);
    CHECK(job->cancelled == TM__FAIL_CANCELLED);
    CHECK(inbox_length(box) == 1);
    free((void *)c.seen);
    tm__job_unref(job);
  }
  tm__inbox_close(box);
  tm__inbox_unref(box);
}

static void test_empty_job_is_done(void) {
  tm__job *job = new_job(0, (tm__spec){0});
  CHECK(tm__job_done(job) && tm__job_exhausted(job));
  tm__job_unref(job);
}

static void test_raise_closes_above_the_lowest(void) {
  tm__claim a, b, c;
  tm__job *job = new_job(100, (tm__spec){.chunk = 10});
  CHECK(tm__job_claim(job, 10, 2, 0, &a) && tm__job_claim(job, 10, 2, 1, &b));
  tm__job_publish(job, &b, NULL, 0, 5);
  tm__job_publish_failure(job, &b, TM__FAIL_TASK, "fifteen");
  CHECK(!tm__job_claim(job, 10, 2, 2, &c)); /* 20 .. are skipped */
  CHECK(!tm__job_skips(job, 3) && !tm__job_skips(job, 14));
  CHECK(tm__job_skips(job, 16));
  tm__job_publish(job, &a, NULL, 0, 3);
  tm__job_publish_failure(job, &a, TM__FAIL_TASK, "three");
  CHECK(tm__job_skips(job, 4) && !tm__job_skips(job, 2));
  CHECK(!tm__job_done(job));
  tm__job_leave(job, &a);
  tm__job_leave(job, &b);
  CHECK(tm__job_done(job) && job->settled == 100 && job->failed == 2);
  tm__job_unref(job);
}

static void test_collect_goes_on(void) {
  tm__claim c;
  tm__job *job = new_job(3, (tm__spec){.chunk = 1, .collect = true});
  CHECK(tm__job_claim(job, 1, 1, 0, &c));
  tm__job_publish_failure(job, &c, TM__FAIL_TASK, "nought");
  CHECK(!tm__job_skips(job, 1));
  while (tm__job_claim(job, 1, 1, 0, &c)) answer(job, &c);
  toy_outcome o = toy_results(job);
  CHECK(tm__job_done(job) && o.ok == 2 && o.failed == 1);
  CHECK(o.kind == TM__FAIL_TASK && strcmp(o.text, "nought") == 0);
  tm__job_unref(job);
}

static void test_stop_takes_what_was_given_back(void) {
  tm__claim c, rest;
  tm__job *job = new_job(10, (tm__spec){.chunk = 4});
  CHECK(tm__job_claim(job, 4, 1, 0, &c));
  tm__runs_split(job, &c, 2, &rest);
  tm__job_give_back(job, &rest);
  tm__job_stop(job, TM__FAIL_INTERRUPTED);
  CHECK(!tm__job_done(job) && tm__job_exhausted(job));
  tm__job_stop(job, TM__FAIL_CANCELLED);
  CHECK(job->cancelled == TM__FAIL_INTERRUPTED); /* the first reason */
  tm__job_give_back(job, &c);                    /* nobody will have it */
  CHECK(tm__job_done(job) && job->settled == 10);
  tm__job_unref(job);
}

/* Who saw an unclaimed item, and was long in claiming it, must not find it so
   when the job has ended and its results were read. */
static void test_emptied_is_not_free(void) {
  tm__claim c;
  for (uint64_t n = 1; n <= 6; n++) {
    tm__job *job = new_job(n, (tm__spec){.chunk = 2});
    while (tm__job_claim(job, 2, 1, 0, &c)) answer(job, &c);
    CHECK(tm__job_done(job));
    tm__job_empty(job);
    for (uint64_t i = 0; i < n; i += 2) {
      tm__run r = tm__runs_read(atomic_load(tm__runs_word(job, i)));
      CHECK(r.state != TM__RUN_FREE);
    }
    tm__job_unref(job);
  }
}

/* A job that a dead worker may have pushed or not: once, whoever let go of it
   meanwhile. */
static void test_suspects_come_once(void) {
  tm__inbox *box = tm__inbox_new(&rt->inboxes, &rt->mem);
  for (int pushed = 0; pushed < 2; pushed++) {
    tm__job *job = new_job(1, (tm__spec){.chunk = 1});
    tm__inbox_expect(box, job);
    atomic_store(&job->done, 1);
    if (pushed) tm__inbox_push(box, job);
    if (pushed) CHECK(inbox_length(box) == 1);
    tm__inbox_suspect(box, job);
    CHECK(inbox_length(box) == !pushed && inbox_length(box) == 0);
    CHECK(job->refs == 1);
    tm__job_unref(job);
  }
  tm__inbox_close(box);
  tm__inbox_unref(box);
}

/* ---- streams ---- */

static void test_stream(void) {
  tm__claim c;
  const unsigned char *at, *end;
  tm__job *job = new_job(0, (tm__spec){.chunk = 1, .window = 3});
  CHECK(!tm__job_done(job) && tm__job_room(job, 0) == 3);
  for (uint64_t i = 0; i < 50; i++) {
    tm__job_feed(job, item_message(i));
    CHECK(tm__job_room(job, i) == 2);
    CHECK(tm__job_claim(job, 1, 1, 0, &c) && c.first == i);
    CHECK(tm__job_item(job, i, &at, &end) && end - at == sizeof i);
    CHECK(at && memcmp(at, &i, sizeof i) == 0);
    answer(job, &c);
    take(job, i);
  }
  CHECK(!tm__job_claimable(job) && !tm__job_exhausted(job));
  tm__job_close(job);
  CHECK(tm__job_done(job));
  tm__job_unref(job);
}

static void *feed_many(void *argument) {
  tm__job *job = argument;
  for (uint64_t i = 0; i < 64; i++) tm__job_feed(job, item_message(i));
  return NULL;
}

/* A stream may be stopped (its pool terminated) while it is fed. */
static void test_stop_while_feeding(void) {
  for (int round = 0; round < 200; round++) {
    pthread_t feeder;
    tm__job *job = new_job(0, (tm__spec){.chunk = 1, .window = 64});
    pthread_create(&feeder, NULL, feed_many, job);
    while (round % 2 && !tm__job_claimable(job)) sched_yield();
    tm__job_stop(job, TM__FAIL_CANCELLED);
    pthread_join(feeder, NULL);
    CHECK(tm__job_done(job) && job->settled == job->limit);
    tm__job_unref(job);
  }
}

/* ---- memory ---- */

/* A stream's failure is told even when nothing can be allocated. */
static void test_failure_without_memory(void) {
  check_heap heap = {0};
  tm_runtime *short_rt = toy_runtime(&heap), *before_rt = rt;
  tm__pool *before = pool;
  rt = short_rt;
  make_pool();
  for (uint64_t window = 1; window < 3; window++) {
    tm__claim c;
    tm__job *job = new_job(0, (tm__spec){.chunk = 1, .window = window});
    for (uint64_t i = 0; i < 5; i++) {
      tm__job_feed(job, NULL);
      CHECK(tm__job_claim(job, 1, 1, 0, &c));
      heap.fail_at = heap.requests + 1;
      tm__job_publish_failure(job, &c, TM__FAIL_TASK, "lost");
      heap.fail_at = 0;
      take(job, i);
    }
    tm__job_close(job);
    CHECK(tm__job_done(job) && job->failed == 5);
    tm__job_unref(job);
  }
  toy_end(pool);
  tm_runtime_free(short_rt);
  CHECK(heap.live == 0);
  rt = before_rt;
  pool = before;
}

static void test_records(void) {
  tm__buf b;
  tm__record r;
  tm__buf_init(&b, pool->mem);
  CHECK(tm__record_text(&b, TM__FAIL_TIMEOUT, "late"));
  const unsigned char *at = b.data;
  CHECK(tm__record_read(&at, b.data + b.len, &r));
  CHECK(r.tag == TM__REC_CORE && r.kind == TM__FAIL_TIMEOUT && r.len == 4);
  CHECK(memcmp(at, "late", 4) == 0);
  at = b.data;
  CHECK(!tm__record_read(&at, b.data + b.len - 1, &r)); /* cut short */
  at = b.data;
  CHECK(!tm__record_read(&at, b.data + TM__RECORD_HEAD - 1, &r));
  tm__buf_term(&b);
  CHECK(strcmp(tm__kind_name(TM__FAIL_TIMEOUT), "timeout") == 0);
  CHECK(strcmp(tm__kind_name(99), "task") == 0);
}

int main(void) {
  rt = toy_runtime(NULL);
  make_pool();
  test_claims_partition();
  test_measured_claims_leave_a_fair_share();
  test_given_back_is_cut();
  test_given_back_without_a_note();
  test_runs_of_a_narrow_stream();
  test_emptied_is_not_free();
  test_suspects_come_once();
  test_ends_once();
  test_empty_job_is_done();
  test_raise_closes_above_the_lowest();
  test_collect_goes_on();
  test_stop_takes_what_was_given_back();
  test_stream();
  test_stop_while_feeding();
  test_failure_without_memory();
  test_records();
  toy_end(pool);
  tm_runtime_free(rt);
  return check_done();
}
