#include "host/host.h"

#include <string.h>

#include "host/job.h"

static const char *const status_names[] = {
    "TM_OK",       "TM_ENOMEM",     "TM_EINVAL", "TM_ESYS", "TM_ECLOSED",
    "TM_ETIMEOUT", "TM_ECANCELLED", "TM_ENOKEY", "TM_ELUA", "TM_EKERNEL",
    "TM_EBUSY",    "TM_ETHREAD",    "TM_EDIED"};

enum { STATUSES = sizeof status_names / sizeof *status_names };

const char *tm_status_name(int code) {
  return code <= 0 && code > -STATUSES ? status_names[-code] : "unknown status";
}

int tm__host_null(tm_error *e, const char *function) {
  return tm__fail(e, TM_EINVAL, "%s: a null argument", function);
}

int tm__host_open(tm_runtime *rt, const char *function, tm_error *e) {
  if (!rt) return tm__host_null(e, function);
  if (!atomic_load(&rt->closed)) return TM_OK;
  return tm__fail(e, TM_ECLOSED, "%s: the runtime is closed", function);
}

uint64_t tm__host_timeout(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return TM__FOREVER;
  return (uint64_t)(seconds * 1e9);
}

int tm_log(tm_runtime *rt, int level, const char *text, tm_error *e) {
  int status = tm__host_open(rt, "tm_log", e);
  if (status) return status;
  if (!text) return tm__host_null(e, "tm_log");
  if (!tm__log_level_name(level))
    return tm__fail(e, TM_EINVAL, "tm_log: unknown level %d", level);
  tm__log_write(&rt->log, level, 0, text, strlen(text));
  return TM_OK;
}

int tm_poll(tm_runtime *rt) {
  int count = 0;
  if (!rt) return TM_EINVAL;
  tm__inbox *box = atomic_load(&rt->inbox);
  for (tm__job *job = box ? tm__inbox_take(box) : NULL; job; count++) {
    tm__job *next = job->next_done;
    tm__hostjob_done(job);
    tm__job_unref(job);
    job = next;
  }
  return count;
}

/* One that was made stays, for callbacks that are due when rt is closed. */
int tm_fd(tm_runtime *rt) {
  int fd, status = TM_OK;
  tm__inbox *box = rt ? atomic_load(&rt->inbox) : NULL;
  if (!box || !tm__inbox_watched(box)) {
    status = tm__host_open(rt, "tm_fd", NULL);
    box = status ? NULL : tm__runtime_inbox(rt);
  }
  if (!status && !box) status = TM_ENOMEM;
  if (!status) status = tm__inbox_event(box, &fd, NULL);
  return status ? status : fd;
}
