/*
 * setting.h: settings of a runtime that the host and scripts share
 */
#ifndef TM_HOST_SETTING_H
#define TM_HOST_SETTING_H

#include "host/host.h"

/* The name of setting i; NULL behind the last. */
const char *tm__setting_name(int i);

/* The log goes to the end of a file; NULL: where it went at first. The one
   place that opens it, so that the path is known. */
int tm__setting_log_file(tm_runtime *rt, const char *path, tm_error *e);

#endif
