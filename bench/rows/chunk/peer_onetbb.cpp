#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include "measure.h"

static void chunks(int n) {
  tbb::parallel_for(
      tbb::blocked_range<int>(0, n, 1),
      [](const tbb::blocked_range<int> &) { __asm__ volatile(""); },
      tbb::simple_partitioner());
}

static void alone(int n) {
  static tbb::task_arena one(1);
  one.execute([=] { chunks(n); });
}

int main() {
  tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                            (size_t)measure_workers());
  measure_say("shared", measure_each(20000, chunks));
  measure_say("alone", measure_each(20000, alone));
  return 0;
}
