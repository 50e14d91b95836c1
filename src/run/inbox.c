#include "run/inbox.h"

/* The head of an inbox whose owner has ended: the same in every process. */
static tm__job *shut(void) { return (tm__job *)(uintptr_t)1; }

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

void tm__inbox_expect(tm__inbox *box, tm__job *job) {
  job->inbox = tm__inbox_ref(box);
  tm__job_ref(job);
}

void tm__inbox_push(tm__inbox *box, tm__job *job) {
  tm__job *head = atomic_load(&box->head);
  do {
    if (head == shut()) {
      tm__job_unref(job);
      return;
    }
    job->next_done = head;
  } while (!atomic_compare_exchange_weak(&box->head, &head, job));
}

void tm__inbox_suspect(tm__inbox *box, tm__job *job) {
  tm__job *head = atomic_load(&box->suspects);
  do {
    job->next_suspect = head;
  } while (!atomic_compare_exchange_weak(&box->suspects, &head, job));
}

/* Puts jobs (latest first) in front of a list, each of them once. */
static tm__job *reverse(tm__job *job, tm__job *first) {
  while (job && job != shut()) {
    tm__job *next = job->next_done;
    job->delivered = true;
    job->next_done = first;
    first = job;
    job = next;
  }
  return first;
}

static tm__job *take_suspects(tm__inbox *box, tm__job *first) {
  tm__job *job = atomic_exchange(&box->suspects, NULL);
  for (; job; job = job->next_suspect) {
    if (job->delivered) continue;
    job->delivered = true;
    job->next_done = first;
    first = job;
  }
  return first;
}

/* Suspects are asked for first: what their workers pushed is there then. */
tm__job *tm__inbox_take(tm__inbox *box) {
  bool suspects = atomic_load(&box->suspects) != NULL;
  if (!suspects && !atomic_load(&box->head)) return NULL;
  tm__job *jobs = reverse(atomic_exchange(&box->head, NULL), NULL);
  return suspects ? take_suspects(box, jobs) : jobs;
}

void tm__inbox_close(tm__inbox *box) {
  tm__job *job = reverse(atomic_exchange(&box->head, shut()), NULL);
  while (job) {
    tm__job *next = job->next_done;
    tm__job_unref(job);
    job = next;
  }
}
