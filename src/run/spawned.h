/*
 * spawned.h: a worker process that is started on its own
 *
 * For processes in which a fork would not be safe: with threads that are not
 * ours. The script's process starts the command in worker mode,
 *
 *   tidemill --worker VERSION BASE SIZE BIRTH SEAT WATCHED LOG
 *
 * (hexadecimal numbers), with the arena as descriptor TM__ARENA_FD, what wakes
 * the script's monitor as TM__BELL_FD and, where LOG is 1, the log file as
 * TM__LOG_FD. The worker maps the arena where the
 * script has it, so that an address in it means the same to both. At the
 * offset BIRTH it finds what its pool is; the rest of its life is that of a
 * forked worker (process.h). WATCHED is 1 when the kernel may end it with the
 * thread that started it.
 */
#ifndef TM_RUN_SPAWNED_H
#define TM_RUN_SPAWNED_H

#include "run/process.h"
#include "run/runtime.h"

enum { TM__ARENA_FD = 3, TM__BELL_FD = 4, TM__LOG_FD = 5, TM__FREE_FD = 6 };

/*
 * What the workers of a pool are told; in the arena, where all that it points
 * to is, too. It is written before the first of them is started and not
 * changed; they only read it.
 */
typedef struct tm__birth {
  tm__hub *hub;
  tm__numbers *numbers;
  uint64_t root;  /* of the store */
  int32_t parent; /* the process that starts them */
  void *guest_user;
  tm__msg *initializer, *settings; /* NULL: there is none */
  uint64_t max_items;
  size_t max_memory;
  unsigned flags; /* of the runtime, with what follows */
  int threads, processes, start_method, pin;
  tm__mask mask;
} tm__birth;

/* What a pool needs to start workers, in the script's process: they may be
   started by the monitor while the script changes the environment, so it has
   a copy of that. */
typedef struct tm__spawner {
  tm__birth *birth;
  char *command;
  char **environment;
} tm__spawner;

/* NULL is fine. */
void tm__spawner_free(tm__spawner *s, tm__pool *pool);

/* The whole of a process in worker mode, whose tasks are guest's. Answers the
   status to exit with when it cannot be a worker, else it does not return. */
int tm__spawned_main(const tm__guest *guest, int argc, char **argv);

#endif
