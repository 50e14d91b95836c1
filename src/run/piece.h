/*
 * piece.h: the pieces that run on a thread, one inside another
 *
 * The worker's own side of tm__piece (guest.h): for stint.c alone. A piece is
 * on its thread's list, and its worker's, for a whole stint; its items can be
 * seen by the monitor, and by whoever abandons the worker, while it is shown:
 * from when it is given items until these are about to be published.
 */
#ifndef TM_RUN_PIECE_H
#define TM_RUN_PIECE_H

#include "run/worker.h"

void tm__piece_push(tm__piece *p);
void tm__piece_pop(tm__piece *p);

/* Gives the piece the items of a claim up to `last`, and a time limit (0:
   none). */
void tm__piece_show(tm__piece *p, const tm__claim *claim, uint64_t last,
                    uint64_t deadline);

/* False when the worker was abandoned: its items are settled already. */
bool tm__piece_hide(tm__piece *p);

/* Jobs that its items submitted and did not wait for go on, unless the items
   were given up. */
void tm__piece_release_children(tm__piece *p);

/* Of what others see of a worker's pieces. */
void tm__piece_lock(tm__worker *w);
void tm__piece_unlock(tm__worker *w);

#endif
