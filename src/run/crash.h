/*
 * crash.h: what a worker process says when it crashes
 *
 * In a worker process a fatal signal (SIGSEGV, SIGBUS, SIGFPE, SIGILL,
 * SIGABRT) writes the C backtrace into the worker's seat, then kills as it
 * would have: the parent adds it to the error of the item.
 */
#ifndef TM_RUN_CRASH_H
#define TM_RUN_CRASH_H

#include "run/hub.h"

/* In a fresh worker process. A handler that the script's program has set for
   one of the signals stays. */
void tm__crash_watch(tm__seat *seat);

#endif
