#include "run/inbox.h"

#include <sched.h>

#include "base/event.h"
#include "base/platform.h"
#include "run/process.h"

/* The head of an inbox whose owner has ended: the same in every process. */
static tm__job *shut(void) { return (tm__job *)(uintptr_t)1; }

/* ---- those with a descriptor ---- */

void tm__inboxes_init(tm__inboxes *all) {
  pthread_mutex_init(&all->lock, NULL);
  all->first = NULL;
}

void tm__inboxes_term(tm__inboxes *all) { pthread_mutex_destroy(&all->lock); }

static void link_in(tm__inbox *box) {
  pthread_mutex_lock(&box->all->lock);
  box->next = box->all->first;
  box->all->first = box;
  pthread_mutex_unlock(&box->all->lock);
}

static void link_out(tm__inbox *box) {
  pthread_mutex_lock(&box->all->lock);
  tm__inbox **at = &box->all->first;
  while (*at && *at != box) at = &(*at)->next;
  if (*at) *at = box->next;
  pthread_mutex_unlock(&box->all->lock);
}

void tm__inboxes_tell(tm__inboxes *all) {
  pthread_mutex_lock(&all->lock);
  for (tm__inbox *box = all->first; box; box = box->next)
    if (atomic_load(&box->head) || atomic_load(&box->suspects))
      tm__inbox_tell(box);
  pthread_mutex_unlock(&all->lock);
}

/* ---- life ---- */

tm__inbox *tm__inbox_new(tm__inboxes *all, const tm__mem *mem) {
  tm__inbox *box = tm__calloc(mem, 1, sizeof *box);
  if (!box) return NULL;
  box->mem = mem;
  box->pid = tm__pid();
  box->all = all;
  atomic_init(&box->refs, 1);
  atomic_init(&box->event, -1);
  return box;
}

tm__inbox *tm__inbox_ref(tm__inbox *box) {
  atomic_fetch_add(&box->refs, 1);
  return box;
}

void tm__inbox_unref(tm__inbox *box) {
  if (!box || atomic_fetch_sub(&box->refs, 1) != 1) return;
  if (box->pid == tm__pid()) {
    link_out(box);
    tm__event_close(atomic_load(&box->event));
  }
  tm__free(box->mem, box);
}

/* ---- telling ---- */

void tm__inbox_tell(tm__inbox *box) {
  int fd = atomic_load(&box->event);
  if (fd < 0) return;
  if (box->pid != tm__pid())
    tm__process_ring();
  else
    tm__event_set(fd);
}

int tm__inbox_event(tm__inbox *box, int *fd, tm_error *e) {
  int none = -1;
  *fd = atomic_load(&box->event);
  if (*fd >= 0) return TM_OK;
  int status = tm__event_open(fd, e);
  if (status) return status;
  if (atomic_compare_exchange_strong(&box->event, &none, *fd)) {
    link_in(box);
  } else {
    tm__event_close(*fd);
    *fd = none;
  }
  if (atomic_load(&box->head)) tm__inbox_tell(box);
  return TM_OK;
}

/* ---- jobs ---- */

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
  tm__inbox_tell(box);
}

/* The list has a reference of its own: who takes the job as one that was
   pushed may let go of it before he asks for suspects. */
void tm__inbox_suspect(tm__inbox *box, tm__job *job) {
  tm__job *head = atomic_load(&box->suspects);
  tm__job_ref(job);
  do {
    job->next_suspect = head;
  } while (!atomic_compare_exchange_weak(&box->suspects, &head, job));
  tm__inbox_tell(box);
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

/* Jobs are told before they are done: once they are, nobody is about to tell
   of them any more. What came meanwhile is told again. */
static void settle_event(tm__inbox *box) {
  int fd = atomic_load(&box->event);
  if (fd < 0) return;
  tm__event_clear(fd);
  if (atomic_load(&box->head)) tm__event_set(fd);
}

static tm__job *take_suspects(tm__inbox *box, tm__job *first) {
  tm__job *job = atomic_exchange(&box->suspects, NULL), *next;
  for (; job; job = next) {
    next = job->next_suspect;
    if (!job->delivered) {
      job->delivered = true;
      job->next_done = first;
      first = job;
    }
    tm__job_unref(job);
  }
  return first;
}

/* Suspects are asked for first: what their workers pushed is there then. */
tm__job *tm__inbox_take(tm__inbox *box) {
  bool suspects = atomic_load(&box->suspects) != NULL;
  tm__job *first = NULL;
  if (atomic_load(&box->head))
    first = reverse(atomic_exchange(&box->head, NULL), NULL);
  if (suspects) first = take_suspects(box, first);
  for (tm__job *job = first; job; job = job->next_done)
    while (!tm__job_done(job)) sched_yield();
  settle_event(box);
  return first;
}

void tm__inbox_close(tm__inbox *box) {
  tm__job *job = reverse(atomic_exchange(&box->head, shut()), NULL);
  job = take_suspects(box, job);
  while (job) {
    tm__job *next = job->next_done;
    tm__job_unref(job);
    job = next;
  }
}
