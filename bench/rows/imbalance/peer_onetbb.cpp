#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

#include "measure.h"

static volatile double sink;

static void alone(int) {
  for (int i = 0; i < 4000; i++) sink = measure_burn(i);
}

static void shared(int) {
  tbb::parallel_for(0, 4000, [](int i) { sink = measure_burn(i); });
}

int main() {
  tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                            (size_t)measure_workers());
  double serial = measure_each(1, alone);
  measure_say("speedup", serial / measure_each(1, shared));
  return 0;
}
