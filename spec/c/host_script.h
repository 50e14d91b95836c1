/*
 * host_script.h: what the tests of scripts from C share: a runtime, made by
 * each test's main, and scripts in it
 */
#ifndef TM_SPEC_HOST_SCRIPT_H
#define TM_SPEC_HOST_SCRIPT_H

#include "host.h"

static tm_runtime *rt;

static inline tm_script *new_script(unsigned flags) {
  tm_script *s = NULL;
  WELL(tm_script_new(&s, rt, flags, &err));
  return s;
}

#define RUN(s, code) tm_script_run_string(s, code, NULL, NULL, 0, &err)

#endif
