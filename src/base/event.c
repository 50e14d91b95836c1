#include "base/event.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int tm__event_open(int *fd, tm_error *e) {
  *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return *fd < 0 ? tm__fail_errno(e, "cannot make an event descriptor") : TM_OK;
}

void tm__event_close(int fd) {
  if (fd >= 0) close(fd);
}

/* A full counter is readable, an empty one is not: neither failure matters.
   Errors are not the caller's business. */
void tm__event_set(int fd) {
  uint64_t one = 1;
  int error = errno;
  ssize_t n;
  do n = write(fd, &one, sizeof one);
  while (n < 0 && errno == EINTR);
  errno = error;
}

void tm__event_clear(int fd) {
  uint64_t count;
  int error = errno;
  ssize_t n;
  do n = read(fd, &count, sizeof count);
  while (n < 0 && errno == EINTR);
  errno = error;
}
