#include "run/inbox.h"

/* The head of an inbox whose owner has ended. Never looked into. */
static tm__job shut;

tm__inbox *tm__inbox_new(const tm__mem *mem) {
  tm__inbox *box = tm__calloc(mem, 1, sizeof *box);
  if (!box) return NULL;
  box->mem = mem;
  atomic_init(&box->refs, 1);
  return box;
}

tm__inbox *tm__inbox_ref(tm__inbox *box) {
  atomic_fetch_add(&box->refs, 1);
  return box;
}

void tm__inbox_unref(tm__inbox *box) {
  if (!box || atomic_fetch_sub(&box->refs, 1) != 1) return;
  tm__free(box->mem, box);
}

void tm__inbox_push(tm__inbox *box, tm__job *job) {
  tm__job_ref(job);
  tm__job *head = atomic_load(&box->head);
  do {
    if (head == &shut) {
      tm__job_unref(job);
      return;
    }
    job->next_done = head;
  } while (!atomic_compare_exchange_weak(&box->head, &head, job));
}

static tm__job *reverse(tm__job *job) {
  tm__job *first = NULL;
  while (job) {
    tm__job *next = job->next_done;
    job->next_done = first;
    first = job;
    job = next;
  }
  return first;
}

tm__job *tm__inbox_take(tm__inbox *box) {
  if (!atomic_load(&box->head)) return NULL;
  return reverse(atomic_exchange(&box->head, NULL));
}

void tm__inbox_close(tm__inbox *box) {
  tm__job *job = atomic_exchange(&box->head, &shut);
  while (job && job != &shut) {
    tm__job *next = job->next_done;
    tm__job_unref(job);
    job = next;
  }
}
