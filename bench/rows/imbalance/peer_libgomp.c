#include "measure.h"

enum { ITEMS = 4000 };

static int workers;
static volatile double sink;

static void rising(int n) {
  (void)n;
#pragma omp parallel for num_threads(workers)
  for (int i = 0; i < ITEMS; i++) sink = measure_burn(i);
}

int main(void) {
  workers = 1;
  double alone = measure_each(1, rising);
  workers = measure_workers();
  measure_say("speedup", alone / measure_each(1, rising));
  return 0;
}
