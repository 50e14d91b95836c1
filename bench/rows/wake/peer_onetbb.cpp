#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <thread>

#include "measure.h"

static measure_late late;
static std::thread::id self;

static void region() {
  tbb::parallel_for(0, (int)LATE_ITEMS, [](int) {
    late_item(&late, std::this_thread::get_id() != self);
  });
}

int main() {
  tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                            (size_t)measure_workers());
  self = std::this_thread::get_id();
  late_measure(&late, region);
  return 0;
}
