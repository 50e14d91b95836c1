/* A parallel loop of as many items as threads, which meet. */
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

#include "measure.h"

static int arrived, workers;

static void regions(int n) {
  arrived = 0;
  for (int i = 1; i <= n; i++)
    tbb::parallel_for(
        tbb::blocked_range<int>(0, workers, 1),
        [=](const tbb::blocked_range<int> &) {
          measure_meet(&arrived, (long)i * workers);
        },
        tbb::simple_partitioner());
}

int main() {
  workers = measure_workers();
  tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                            (size_t)workers);
  measure_say("meet", measure_each(100, regions));
  return 0;
}
