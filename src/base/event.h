/*
 * event.h: a file descriptor that is readable while something is due
 */
#ifndef TM_BASE_EVENT_H
#define TM_BASE_EVENT_H

#include "base/error.h"

/* Makes one, not readable; closed on exec. *fd is -1 on failure: TM_ESYS. */
int tm__event_open(int *fd, tm_error *e);
void tm__event_close(int fd);

/* Makes it readable; makes it not readable. Any thread. */
void tm__event_set(int fd);
void tm__event_clear(int fd);

#endif
