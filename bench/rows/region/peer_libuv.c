/* As many work requests as threads, which meet; the loop runs to its end. */
#include <uv.h>

#include "measure.h"

static int arrived, workers;
static long goal;

static void work(uv_work_t *w) {
  (void)w;
  measure_meet(&arrived, goal);
}

static void after(uv_work_t *w, int status) {
  (void)w;
  (void)status;
}

static void regions(int n) {
  uv_work_t requests[64];
  arrived = 0;
  for (int i = 1; i <= n; i++) {
    goal = (long)i * workers;
    for (int k = 0; k < workers; k++)
      uv_queue_work(uv_default_loop(), &requests[k], work, after);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  }
}

int main(void) {
  workers = measure_workers();
  setenv("UV_THREADPOOL_SIZE", getenv("BENCH_WORKERS"), 1);
  measure_say("meet", measure_each(100, regions));
  return 0;
}
