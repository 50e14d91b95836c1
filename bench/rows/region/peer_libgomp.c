/* A parallel region whose threads meet. */
#include "measure.h"

static int arrived, workers;

static void regions(int n) {
  arrived = 0;
  for (int i = 1; i <= n; i++) {
#pragma omp parallel num_threads(workers)
    measure_meet(&arrived, (long)i * workers);
  }
}

int main(void) {
  workers = measure_workers();
  measure_say("meet", measure_each(100, regions));
  return 0;
}
