/*
 * worker_main.c: the command in worker mode
 */
#include "bind/guest.h"
#include "run/spawned.h"

int tm_worker_main(int argc, char **argv) {
  return tm__spawned_main(&tm__guest_own, argc, argv);
}
