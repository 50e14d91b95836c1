#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/platform.h"

/* Linux moves at most 2 GiB a call. */
enum { AT_ONCE = 1 << 30 };

static int write_all(int fd, const void *bytes, size_t n) {
  const char *at = bytes;
  while (n) {
    ssize_t done = write(fd, at, n < AT_ONCE ? n : AT_ONCE);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return -1;
    at += done;
    n -= (size_t)done;
  }
  return 0;
}

static int write_parts(int fd, const void *head, size_t nhead, const void *data,
                       size_t n) {
  if (write_all(fd, head, nhead) == 0 && write_all(fd, data, n) == 0)
    return close(fd);
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

/* A pipe, a terminal or /dev/null is written as it is. */
static int write_special(const char *path, const void *head, size_t nhead,
                         const void *data, size_t n, tm_error *e) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write_parts(fd, head, nhead, data, n))
    return tm__fail_errno(e, "cannot write %s", path);
  return TM_OK;
}

/* A fresh file beside the one that is to be, which a name may stand for
   through symbolic links; with the mode of one that is there already. */
static int open_beside(const char *whole, char *beside, size_t size) {
  struct stat st;
  snprintf(beside, size, "%s.%016llx", whole,
           (unsigned long long)tm__entropy());
  int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd >= 0 && stat(whole, &st) == 0 && fchmod(fd, st.st_mode & 0777)) {
    close(fd);
    unlink(beside);
    return -1;
  }
  return fd;
}

int tm__file_write(const char *path, const void *head, size_t nhead,
                   const void *data, size_t n, tm_error *e) {
  char whole[PATH_MAX], beside[PATH_MAX + 20];
  struct stat st;
  if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
    return write_special(path, head, nhead, data, n, e);
  if (!realpath(path, whole)) snprintf(whole, sizeof whole, "%s", path);
  int fd = open_beside(whole, beside, sizeof beside);
  if (fd < 0) return tm__fail_errno(e, "cannot write %s", path);
  if (write_parts(fd, head, nhead, data, n) || rename(beside, whole)) {
    tm__fail_errno(e, "cannot write %s", path);
    unlink(beside);
    return TM_ESYS;
  }
  return TM_OK;
}

static int read_all(int fd, uint64_t offset, void *bytes, size_t n,
                    const char *path, tm_error *e) {
  char *at = bytes;
  size_t left = n;
  while (left) {
    ssize_t done =
        pread(fd, at, left < AT_ONCE ? left : AT_ONCE, (off_t)offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return tm__fail_errno(e, "cannot read %s", path);
    if (done == 0)
      return tm__fail(e, TM_EINVAL,
                      "%s is cut short: %zu bytes of data expected, %zu there",
                      path, n, n - left);
    at += done;
    offset += (uint64_t)done;
    left -= (size_t)done;
  }
  return TM_OK;
}

int tm__file_read(const char *path, uint64_t offset, void *data, size_t n,
                  tm_error *e) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return tm__fail_errno(e, "cannot read %s", path);
  int status = read_all(fd, offset, data, n, path, e);
  close(fd);
  return status;
}

static void identify(const struct stat *st, tm__file_id *out) {
  *out = (tm__file_id){.device = (uint64_t)st->st_dev,
                       .inode = (uint64_t)st->st_ino,
                       .size = (uint64_t)st->st_size,
                       .seconds = (int64_t)st->st_mtim.tv_sec,
                       .nanoseconds = (int64_t)st->st_mtim.tv_nsec};
}

int tm__file_identify(const char *path, tm__file_id *out, tm_error *e) {
  struct stat st;
  if (stat(path, &st)) return tm__fail_errno(e, "cannot read %s", path);
  identify(&st, out);
  return TM_OK;
}

int tm__file_map(const char *path, void **base, size_t *size, tm__file_id *id,
                 tm_error *e) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st)) goto failed;
  identify(&st, id);
  *size = (size_t)st.st_size;
  if (*size == 0) {
    close(fd);
    return tm__fail(e, TM_EINVAL, "%s is empty", path);
  }
  *base = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
  if (*base == MAP_FAILED) goto failed;
  close(fd);
  return TM_OK;
failed:
  tm__fail_errno(e, "cannot map %s", path);
  if (fd >= 0) close(fd);
  return TM_ESYS;
}

void tm__file_unmap(void *base, size_t size) { munmap(base, size); }
