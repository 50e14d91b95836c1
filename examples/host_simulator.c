/*
 * host_simulator.c: a simulator that its users steer with a script
 *
 *     cc -O2 host_simulator.c $(pkg-config --cflags --libs tidemill) -o sim
 *     ./sim [cells [steps [script.lua [directory]]]]
 *
 * Two chemicals react and diffuse on a periodic grid of cells x cells (the
 * model of Gray and Scott; J. E. Pearson, Science 261, 189, 1993):
 *
 *     du/dt = Du lap(u) - u v^2 + feed (1 - u)
 *     dv/dt = Dv lap(v) + u v^2 - (feed + kill) v
 *
 * The simulator owns what such a program owns: the fields, in its own memory;
 * the kernel that makes a step; writers, threads of its own that turn the
 * frames that come in into pictures (.pgm files, when a directory is given).
 * What is done in which order is the user's: a Lua script, which sees the
 * fields as arrays and the kernel as a function.
 *
 * Two simulations run at once, each on a host thread with a runtime of its
 * own, one with a single worker, one with more. Their scripts take decisions
 * by the numbers that they see, so that all must agree to the last bit: that
 * is checked, and that the mass of both chemicals is what was there in the
 * beginning, plus what was fed, less what was removed.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidemill.h>

/* ---- the model -------------------------------------------------------- */

static const double DIFFUSE_U = 0.16, DIFFUSE_V = 0.08, STEP = 1.0;

/* Where the neighbours of row or column i are. */
static int64_t before(int64_t i, int64_t n) { return (i ? i : n) - 1; }
static int64_t after(int64_t i, int64_t n) { return i + 1 < n ? i + 1 : 0; }

/* A step of the rows first .. last - 1; adds up u and v as they were. */
static int gray_scott(const tm_call *c, const tm_arg *a) {
  double feed = a[4].f, kill = a[5].f, sum_u = 0, sum_v = 0;
  int64_t n = a[0].shape[0];
  for (int64_t y = c->first; y < c->last; y++) {
    const double *u = a[2].f64 + y * n, *v = a[3].f64 + y * n;
    const double *u_up = a[2].f64 + before(y, n) * n;
    const double *v_up = a[3].f64 + before(y, n) * n;
    const double *u_down = a[2].f64 + after(y, n) * n;
    const double *v_down = a[3].f64 + after(y, n) * n;
    double *to_u = a[0].f64 + y * n, *to_v = a[1].f64 + y * n;
    for (int64_t x = 0; x < n; x++) {
      int64_t l = before(x, n), r = after(x, n);
      double lap_u = u[l] + u[r] + u_up[x] + u_down[x] - 4 * u[x];
      double lap_v = v[l] + v[r] + v_up[x] + v_down[x] - 4 * v[x];
      double turned = u[x] * v[x] * v[x];
      to_u[x] = u[x] + STEP * (DIFFUSE_U * lap_u - turned + feed * (1 - u[x]));
      to_v[x] =
          v[x] + STEP * (DIFFUSE_V * lap_v + turned - (feed + kill) * v[x]);
      sum_u += u[x];
      sum_v += v[x];
    }
  }
  c->acc.f64[0] += sum_u;
  c->acc.f64[1] += sum_v;
  return 0;
}

static int mass(const tm_call *c, const tm_arg *a) {
  double sum = 0;
  for (int64_t i = c->first; i < c->last; i++) sum += a[0].f64[i] + a[1].f64[i];
  *c->acc.f64 += sum;
  return 0;
}

static const tm_kernel kernels[] = {
    TM_RANGE(gray_scott,
             "f64[n,n] to_u, f64[n,n] to_v, const f64[n,n] u, "
             "const f64[n,n] v, f64 feed, f64 kill",
             .reduce = "sum f64[2]"),
    TM_RANGE(mass, "const f64[] u, const f64[] v", .reduce = "sum f64")};

/* All is u, but for a square in the middle, a little off its symmetry. */
static void begin(double *u, double *v, int64_t n) {
  for (int64_t i = 0; i < n * n; i++) {
    int64_t x = i % n - n / 2, y = i / n - n / 2;
    int inside = x * x < n * n / 64 && y * y < n * n / 64;
    u[i] = inside ? 0.5 : 1;
    v[i] = inside ? 0.25 + 0.01 * (double)((7 * x + 13 * y) % 5) : 0;
  }
}

/* ---- the writers ------------------------------------------------------ */

/* A picture to be made: a copy of the field v of one simulation. */
typedef struct frame {
  struct frame *next;
  int owner;
  int64_t step, n;
  double cells[];
} frame;

/* The simulator's own threads, and the frames that wait for them. Of each
   simulation: how many there were, and the sum of their checksums. */
typedef struct writers {
  pthread_mutex_t lock; /* guards all that follows */
  pthread_cond_t changed;
  frame *waiting;
  int closed;
  int done[2];
  uint64_t checksum[2];
  const char *directory; /* NULL: no files. Does not change */
  pthread_t threads[2];
} writers;

static writers recorder = {.lock = PTHREAD_MUTEX_INITIALIZER,
                           .changed = PTHREAD_COND_INITIALIZER};

/* Turns the frame into bytes, in place of its cells; answers a checksum. */
static uint64_t paint(frame *f) {
  unsigned char *grey = (unsigned char *)f->cells;
  uint64_t sum = 14695981039346656037u;
  for (int64_t i = 0; i < f->n * f->n; i++) {
    double x = f->cells[i] / 0.4;
    grey[i] = x >= 1 ? 255 : (unsigned char)(255 * x);
    sum = (sum ^ grey[i]) * 1099511628211u;
  }
  return sum;
}

static void write_file(const char *directory, const frame *f) {
  char path[500];
  snprintf(path, sizeof path, "%s/frame_%06lld.pgm", directory,
           (long long)f->step);
  FILE *file = fopen(path, "wb");
  if (!file) {
    perror(path);
    return;
  }
  fprintf(file, "P5 %lld %lld 255\n", (long long)f->n, (long long)f->n);
  fwrite(f->cells, 1, (size_t)(f->n * f->n), file);
  if (fclose(file)) perror(path);
}

static frame *next_frame(writers *w) {
  pthread_mutex_lock(&w->lock);
  while (!w->waiting && !w->closed) pthread_cond_wait(&w->changed, &w->lock);
  frame *f = w->waiting;
  if (f) w->waiting = f->next;
  pthread_mutex_unlock(&w->lock);
  return f;
}

static void *write_frames(void *arg) {
  writers *w = arg;
  for (frame *f; (f = next_frame(w)) != NULL; free(f)) {
    uint64_t sum = paint(f);
    if (w->directory && f->owner == 0) write_file(w->directory, f);
    pthread_mutex_lock(&w->lock);
    w->done[f->owner]++;
    w->checksum[f->owner] += sum;
    pthread_mutex_unlock(&w->lock);
  }
  return NULL;
}

static void close_writers(writers *w) {
  pthread_mutex_lock(&w->lock);
  w->closed = 1;
  pthread_cond_broadcast(&w->changed);
  pthread_mutex_unlock(&w->lock);
  for (int i = 0; i < 2; i++) pthread_join(w->threads[i], NULL);
}

/* ---- a simulation ----------------------------------------------------- */

enum { U, V, NEXT_U, NEXT_V, FIELDS };

/* One of the two. Its thread uses it alone while that runs. */
typedef struct simulation {
  int number, workers;
  int64_t n, steps;
  const char *path;
  tm_runtime *rt;
  tm_script *script;
  tm_array *fields[FIELDS]; /* of the host's memory */
  char report[2000];        /* what the script has reported */
  double mass, off;         /* in the end; and off the expected one */
  int status;
  tm_error error;
} simulation;

static simulation both[2] = {{.number = 0, .workers = 1},
                             {.number = 1, .workers = 4}};
static _Atomic int fields_released;

/* sim.record(step, v): a frame for the writers. */
static int record(void *user, const tm_value *args, int nargs,
                  tm_value *results, int most, tm_error *e) {
  const simulation *s = user;
  (void)results, (void)most;
  if (nargs != 2 || args[0].type != TM_INTEGER || args[1].type != TM_ARRAY ||
      tm_array_dtype(args[1].as.array) != TM_F64 ||
      tm_array_size(args[1].as.array) != s->n * s->n) {
    return tm_error_set(e, TM_EINVAL, "record: a step and a field, please");
  }
  size_t bytes = tm_array_bytes(args[1].as.array);
  frame *f = malloc(sizeof *f + bytes);
  if (!f) {
    return tm_error_set(e, TM_ENOMEM, "record: no memory for a frame");
  }
  f->owner = s->number;
  f->step = args[0].as.integer;
  f->n = s->n;
  memcpy(f->cells, tm_array_data(args[1].as.array), bytes);
  pthread_mutex_lock(&recorder.lock);
  f->next = recorder.waiting;
  recorder.waiting = f;
  pthread_cond_signal(&recorder.changed);
  pthread_mutex_unlock(&recorder.lock);
  return 0;
}

/* sim.report(text): a line of the simulation's report. */
static int report(void *user, const tm_value *args, int nargs,
                  tm_value *results, int most, tm_error *e) {
  simulation *s = user;
  size_t used = strlen(s->report);
  (void)results, (void)most;
  if (nargs != 1 || args[0].type != TM_STRING) {
    return tm_error_set(e, TM_EINVAL, "report: a string, please");
  }
  snprintf(s->report + used, sizeof s->report - used, "%s\n",
           args[0].as.string.text);
  return 0;
}

static void release(void *user, void *data) {
  (void)user;
  free(data);
  fields_released++;
}

/* The fields: memory of the host's, which goes when nobody uses it. */
static int make_fields(simulation *s) {
  const int64_t shape[] = {s->n, s->n};
  double *memory[FIELDS];
  for (int i = 0; i < FIELDS; i++) {
    memory[i] = calloc((size_t)(s->n * s->n), sizeof(double));
    int status = memory[i]
                     ? tm_array_wrap(&s->fields[i], s->rt, memory[i], TM_F64, 2,
                                     shape, 0, release, NULL, &s->error)
                     : TM_ENOMEM;
    if (status) free(memory[i]);
    if (status) return status;
  }
  begin(memory[U], memory[V], s->n);
  return TM_OK;
}

/* Fills the table `sim`, by which the script knows the simulation. */
static int introduce(simulation *s) {
  static const char *const names[] = {"sim.u", "sim.v", "sim.next_u",
                                      "sim.next_v"};
  tm_error *e = &s->error;
  int status = tm_script_run_string(s->script, "sim = {}", NULL, NULL, 0, e);
  for (int i = 0; !status && i < FIELDS; i++)
    status =
        tm_script_set(s->script, names[i], tm_array_value(s->fields[i]), e);
  if (!status) status = tm_script_set(s->script, "sim.n", tm_integer(s->n), e);
  if (!status) status = tm_script_set(s->script, "sim.dt", tm_number(STEP), e);
  if (!status)
    status = tm_script_set_function(s->script, "sim.record", record, s, e);
  if (!status)
    status = tm_script_set_function(s->script, "sim.report", report, s, e);
  return status;
}

static int make(simulation *s) {
  tm_config c;
  tm_config_init(&c);
  c.threads = s->workers;
  c.flags = TM_USE_STDERR;
  int status = tm_runtime_new(&s->rt, &c, &s->error);
  for (int i = 0; !status && i < 2; i++)
    status = tm_kernel_register(s->rt, &kernels[i], &s->error);
  if (!status) status = make_fields(s);
  if (!status)
    status = tm_script_new(&s->script, s->rt, TM_SCRIPT_STOPPABLE, &s->error);
  return status ? status : introduce(s);
}

/* What is there in the end, by a pool of the host's. */
static int weigh(simulation *s) {
  tm_value fields[] = {tm_array_value(s->fields[U]),
                       tm_array_value(s->fields[V])};
  tm_value expected = tm_script_result(s->script, 0);
  tm_pool *pool;
  int status = tm_pool_new(&pool, s->rt, NULL, &s->error);
  if (!status)
    status = tm_pool_run(pool, "mass", s->n * s->n, fields, 2, &s->mass,
                         sizeof s->mass, NULL, &s->error);
  s->off = expected.type == TM_NUMBER ? s->mass / expected.as.number - 1 : 1;
  tm_pool_free(pool);
  return status;
}

static void *simulate(void *arg) {
  simulation *s = arg;
  tm_value steps = tm_integer(s->steps);
  s->status = tm_script_run_file(s->script, s->path, &steps, 1, &s->error);
  if (!s->status) s->status = weigh(s);
  return NULL;
}

/* Ctrl-C ends the scripts; the simulator goes on to its end. */
static void on_interrupt(int signal) {
  (void)signal;
  for (int i = 0; i < 2; i++) tm_script_stop(both[i].script);
}

/* ---- the whole -------------------------------------------------------- */

static int check(int holds, const char *what) {
  if (!holds) fprintf(stderr, "not so: %s\n", what);
  return !holds;
}

static int same_field(int i) {
  const tm_array *a = both[0].fields[i], *b = both[1].fields[i];
  return memcmp(tm_array_data(a), tm_array_data(b), tm_array_bytes(a)) == 0;
}

/* Answers how many things are wrong. */
static int judge(void) {
  int wrong = check(same_field(U) && same_field(V), "the same fields");
  wrong +=
      check(strcmp(both[0].report, both[1].report) == 0, "the same reports");
  wrong += check(recorder.done[0] > 0 && recorder.done[0] == recorder.done[1] &&
                     recorder.checksum[0] == recorder.checksum[1],
                 "the same frames");
  for (int i = 0; i < 2; i++)
    wrong += check(both[i].off > -1e-12 && both[i].off < 1e-12,
                   "the mass is what was fed, less what was removed");
  printf("%s%d workers and %d: %s; %d frames each\n", both[0].report,
         both[0].workers, both[1].workers,
         wrong ? "they differ" : "the same to the last bit", recorder.done[0]);
  printf("mass %.6f, as expected within %.0e\n", both[0].mass,
         both[0].off < 0 ? -both[0].off : both[0].off);
  return wrong;
}

static int run(void) {
  struct sigaction act = {.sa_handler = on_interrupt}, old;
  pthread_t threads[2];
  int wrong = 0;
  sigaction(SIGINT, &act, &old);
  for (int i = 0; i < 2; i++)
    pthread_create(&recorder.threads[i], NULL, write_frames, &recorder);
  for (int i = 0; i < 2; i++)
    pthread_create(&threads[i], NULL, simulate, &both[i]);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  close_writers(&recorder);
  sigaction(SIGINT, &old, NULL);
  for (int i = 0; i < 2; i++)
    if (both[i].status) {
      fprintf(stderr, "%s: %s\n", tm_status_name(both[i].status),
              both[i].error.text);
      wrong++;
    }
  return wrong ? wrong : judge();
}

int main(int argc, char **argv) {
  int wrong = 0;
  recorder.directory = argc > 4 ? argv[4] : NULL;
  for (int i = 0; i < 2; i++) {
    both[i].n = argc > 1 ? atoll(argv[1]) : 128;
    both[i].steps = argc > 2 ? atoll(argv[2]) : 8000;
    both[i].path = argc > 3 ? argv[3] : "host_simulator.lua";
    if (both[i].n < 16 || both[i].n > 4096 || both[i].steps < 2) {
      fprintf(stderr,
              "usage: %s [cells (16 to 4096) [steps [script "
              "[directory]]]]\n",
              argv[0]);
      return 2;
    }
  }
  for (int i = 0; i < 2 && !wrong; i++)
    if ((wrong = make(&both[i])) != 0)
      fprintf(stderr, "%s: %s\n", tm_status_name(wrong), both[i].error.text);
  if (!wrong) wrong = run();
  for (int i = 0; i < 2; i++) {
    for (int k = 0; k < FIELDS; k++) tm_array_release(both[i].fields[k]);
    tm_script_free(both[i].script);
    tm_runtime_free(both[i].rt);
  }
  wrong +=
      check(wrong || fields_released == 2 * FIELDS, "all fields were released");
  return wrong != 0;
}
