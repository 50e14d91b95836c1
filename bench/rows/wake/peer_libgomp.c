#include <omp.h>

#include "measure.h"

static measure_late late;
static int workers;

static void region(void) {
#pragma omp parallel for num_threads(workers)
  for (int i = 0; i < LATE_ITEMS; i++) late_item(&late, omp_get_thread_num());
}

int main(void) {
  workers = measure_workers();
  late_measure(&late, region);
  return 0;
}
