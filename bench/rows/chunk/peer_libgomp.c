#include "measure.h"

static int workers;

static void chunks(int n) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(workers)
  for (int i = 0; i < n; i++) __asm__ volatile("");
}

int main(void) {
  workers = measure_workers();
  measure_say("shared", measure_each(20000, chunks));
  workers = 1;
  measure_say("alone", measure_each(20000, chunks));
  return 0;
}
