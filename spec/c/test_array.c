/* Tests of store/array.h, store/maps.h and base/file.h. */

#include "store/array.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/file.h"
#include "check.h"
#include "store/maps.h"

static const tm__mem heap = {tm__heap_alloc, NULL};

/* An array on the heap. */
static tm__array make(int dtype, int rank, const uint64_t *shape) {
  tm__array a = {0};
  CHECK(tm__array_shape(&a, dtype, rank, shape));
  a.data = tm__calloc(&heap, a.n ? a.n : 1, tm__dtype_size(dtype));
  return a;
}

static tm__array line(int dtype, uint64_t n) { return make(dtype, 1, &n); }

static void drop(tm__array *a) { tm__free(&heap, a->data); }

static tm__element whole(int64_t i) {
  return (tm__element){.integer = true, .i = i};
}

static tm__element real(double x) { return (tm__element){.re = x}; }

static void types(void) {
  static const size_t sizes[] = {8, 4, 8, 4, 1, 16};
  for (int i = 0; i < TM__DTYPES; i++) {
    CHECK(tm__dtype_of(tm__dtype_name(i)) == i);
    CHECK(tm__dtype_size(i) == sizes[i]);
  }
  CHECK(tm__dtype_of("f16") == -1 && tm__dtype_of("") == -1);
}

static void shapes(void) {
  tm__array a = {0};
  uint64_t huge[] = {UINT64_C(1) << 40, UINT64_C(1) << 40};
  uint64_t empty[] = {0, UINT64_C(1) << 40, UINT64_C(1) << 40};
  uint64_t limit = UINT64_C(1) << 60;
  CHECK(!tm__array_shape(&a, TM__U8, 2, huge));
  CHECK(!tm__array_shape(&a, TM__U8, 3, empty));
  CHECK(!tm__array_shape(&a, TM__F64, 1, &limit));
  CHECK(tm__array_shape(&a, TM__U8, 1, &limit) && a.n == limit);
  CHECK(tm__array_shape(&a, TM__F64, 1, empty) && a.n == 0);
}

static void views(void) {
  uint64_t shape[] = {2, 3, 4};
  tm__array a = make(TM__I32, 3, shape), row, part, cell;
  for (uint64_t i = 0; i < 24; i++) {
    tm__element x = whole((int64_t)i);
    CHECK(tm__array_put(&a, i, &x) == TM__FITS);
  }
  tm__element x;
  tm__array_row(&a, 1, &row);
  CHECK(row.rank == 2 && row.n == 12 && row.shape[0] == 3 && row.offset == 48);
  tm__array_get(&row, 0, &x);
  CHECK(x.integer && x.i == 12);
  tm__array_slice(&row, 1, 2, &part);
  CHECK(part.n == 8 && part.shape[0] == 2 && part.offset == 64);
  tm__array_row(&part, 1, &cell);
  tm__array_get(&cell, 3, &x);
  CHECK(x.i == 23);
  CHECK(tm__array_same(&a, &a) && !tm__array_same(&a, &row));
  CHECK(!tm__array_alike(&row, &part) && tm__array_alike(&cell, &cell));
  drop(&a);
}

/* Whether x fits dtype as said; and then that it is read as it was. */
static bool fits(int dtype, tm__element x, int how) {
  tm__array a = line(dtype, 2);
  tm__element y, rest;
  int fit = tm__array_put(&a, 0, &x);
  tm__array_get(&a, 0, &y);
  tm__array_get(&a, 1, &rest);
  bool kept = y.integer ? (x.integer ? x.i == y.i : x.re == (double)y.i)
                        : (x.integer ? x.i == (int64_t)y.re : x.re == y.re);
  bool untouched = y.integer ? y.i == 0 : y.re == 0;
  drop(&a);
  return fit == how && rest.i == 0 && rest.re == 0 &&
         (fit == TM__FITS ? kept : untouched);
}

static void conversions(void) {
  CHECK(fits(TM__U8, whole(255), TM__FITS));
  CHECK(fits(TM__U8, whole(256), TM__RANGE));
  CHECK(fits(TM__U8, whole(-1), TM__RANGE));
  CHECK(fits(TM__U8, real(1.5), TM__FRACTION));
  CHECK(fits(TM__U8, real(7), TM__FITS));
  CHECK(fits(TM__I32, whole(INT32_MIN), TM__FITS));
  CHECK(fits(TM__I32, whole((int64_t)INT32_MIN - 1), TM__RANGE));
  CHECK(fits(TM__I64, whole(INT64_MIN), TM__FITS));
  CHECK(fits(TM__I64, real(-0x1p63), TM__FITS));
  CHECK(fits(TM__I64, real(0x1p63), TM__RANGE));
  CHECK(fits(TM__I64, real((double)NAN), TM__RANGE));
  CHECK(fits(TM__I64, real(HUGE_VAL), TM__RANGE));
  CHECK(fits(TM__F64, whole((int64_t)1 << 53), TM__FITS));
  CHECK(fits(TM__F64, whole(INT64_MIN), TM__FITS));
  CHECK(fits(TM__F32, real(0.5), TM__FITS));
  CHECK(fits(TM__C128, whole(3), TM__FITS));
  tm__array f = line(TM__F64, 1), g = line(TM__F32, 1);
  tm__element odd = whole(((int64_t)1 << 53) + 1), top = whole(INT64_MAX);
  tm__element small = whole((1 << 24) + 1), both = {.re = 1, .im = 2};
  CHECK(tm__array_put(&f, 0, &odd) == TM__INEXACT);
  CHECK(tm__array_put(&f, 0, &top) == TM__INEXACT);
  CHECK(tm__array_put(&g, 0, &top) == TM__INEXACT);
  CHECK(tm__array_put(&g, 0, &small) == TM__INEXACT);
  CHECK(tm__array_put(&f, 0, &both) == TM__IMAGINARY);
  drop(&f);
  drop(&g);
}

static void faults(void) {
  tm_error e;
  tm__element x = whole(300), both = {.re = 1, .im = -2};
  CHECK(tm__element_fault(&e, TM__U8, &x, TM__RANGE) == TM_EINVAL);
  CHECK(strcmp(e.text, "300 does not fit into u8 (0 to 255)") == 0);
  tm__element_fault(&e, TM__F64, &both, TM__IMAGINARY);
  CHECK(strncmp(e.text, "1-2i has an imaginary part", 26) == 0);
}

static void sums(void) {
  tm_error e;
  for (uint64_t n = 0; n < 1200; n += 1 + n / 7) {
    tm__array a = line(TM__F64, n), b = line(TM__C128, n);
    tm__element x = real(0.5), pair = {.re = 1, .im = 2}, out;
    CHECK(tm__array_fill(&a, &x, &e) == TM_OK);
    CHECK(tm__array_fill(&b, &pair, &e) == TM_OK);
    CHECK(tm__array_sum(&a, &out, &e) == TM_OK && out.re == 0.5 * (double)n);
    CHECK(tm__array_dot(&a, &a, &out, &e) == TM_OK &&
          out.re == 0.25 * (double)n);
    CHECK(tm__array_sum(&b, &out, &e) == TM_OK && out.re == (double)n &&
          out.im == 2 * (double)n);
    CHECK(tm__array_dot(&b, &b, &out, &e) == TM_OK && out.re == 5 * (double)n &&
          out.im == 0);
    drop(&a);
    drop(&b);
  }
}

static void overflows(void) {
  tm_error e;
  tm__array a = line(TM__U8, 3);
  tm__element x = whole(200), out;
  CHECK(tm__array_fill(&a, &x, &e) == TM_OK);
  CHECK(tm__array_add(&a, &x, &e) == TM_EINVAL);
  CHECK(tm__array_plus(&a, &a, &e) == TM_EINVAL);
  CHECK(tm__array_scale(&a, &x, &e) == TM_EINVAL);
  CHECK(tm__array_sum(&a, &out, &e) == TM_OK && out.i == 600);
  CHECK(tm__array_max(&a, &out, &e) == TM_OK && out.i == 200);
  drop(&a);
}

static void transposition(void) {
  uint64_t shape[] = {2, 3, 2};
  tm__array a = make(TM__U8, 3, shape);
  unsigned char from[12];
  /* element (i, j, k) in Fortran order is at i + 2 j + 6 k */
  for (unsigned char i = 0; i < 12; i++) from[i] = i;
  tm__array_transpose(&a, from);
  for (uint64_t i = 0; i < 2; i++)
    for (uint64_t j = 0; j < 3; j++)
      for (uint64_t k = 0; k < 2; k++)
        CHECK(a.data[i * 6 + j * 2 + k] == i + 2 * j + 6 * k);
  drop(&a);
}

static void files(void) {
  char path[] = P_tmpdir "/test_array.XXXXXX", bytes[8];
  tm_error e;
  tm__maps maps;
  tm__map *one, *two;
  int fd = mkstemp(path);
  CHECK(fd >= 0 && close(fd) == 0);
  CHECK(tm__file_write(path, "head", 4, "data", 4, &e) == TM_OK);
  CHECK(tm__file_read(path, 2, bytes, 6, &e) == TM_OK);
  CHECK(memcmp(bytes, "addata", 6) == 0);
  CHECK(tm__file_read(path, 3, bytes, 6, &e) == TM_EINVAL);
  CHECK(strstr(e.text, "6 bytes of data expected, 5 there"));
  CHECK(tm__file_read("test_array.none", 0, bytes, 1, &e) == TM_ESYS);
  tm__maps_init(&maps, &heap);
  CHECK(tm__maps_open(&maps, path, NULL, &one, &e) == TM_OK);
  CHECK(tm__maps_open(&maps, path, &one->id, &two, &e) == TM_OK);
  CHECK(one == two && one->size == 8 && memcmp(one->base, "headdata", 8) == 0);
  tm__file_id old = one->id;
  CHECK(tm__file_write(path, "", 0, "longer data", 11, &e) == TM_OK);
  CHECK(tm__maps_open(&maps, path, NULL, &two, &e) == TM_OK && one != two);
  CHECK(memcmp(one->base, "headdata", 8) == 0);
  tm__maps_close(&maps, one);
  tm__maps_close(&maps, one);
  tm__maps_close(&maps, two);
  CHECK(maps.first == NULL);
  CHECK(tm__maps_open(&maps, path, &old, &one, &e) == TM_EINVAL);
  CHECK(strstr(e.text, "has changed"));
  tm__maps_term(&maps);
  unlink(path);
}

typedef struct opener {
  tm__maps maps;
  const char *path;
  tm__file_id id;
  _Atomic bool stop;
} opener;

static bool open_and_close(opener *o, const char *expected) {
  tm__map *m;
  tm_error e;
  if (tm__maps_open(&o->maps, o->path, &o->id, &m, &e))
    return strstr(e.text, o->path) && strstr(e.text, expected);
  bool good = !expected && !memcmp(m->base, "headdata", 8);
  tm__maps_close(&o->maps, m);
  return good;
}

static void *open_all_the_time(void *arg) {
  opener *o = arg;
  while (!o->stop) CHECK(open_and_close(o, NULL));
  return NULL;
}

static bool opens(void *arg) {
  opener *o = arg;
  tm__maps_after_fork(&o->maps);
  return open_and_close(o, NULL);
}

static bool finds_it_changed(void *arg) {
  return open_and_close(arg, "has changed");
}

static bool finds_it_gone(void *arg) {
  return open_and_close(arg, "No such file");
}

/* What other processes make of a mapped array's entry. */
static void files_of_processes(void) {
  char path[] = P_tmpdir "/test_array.XXXXXX";
  opener o = {.path = path};
  int fd = mkstemp(path);
  CHECK(fd >= 0 && write(fd, "headdata", 8) == 8 && close(fd) == 0);
  CHECK(tm__file_identify(path, &o.id, NULL) == TM_OK);
  tm__maps_init(&o.maps, &heap);
  pthread_t thread;
  pthread_create(&thread, NULL, open_all_the_time, &o);
  for (int i = 0; i < 20; i++) {
    tm__maps_before_fork(&o.maps);
    CHECK(check_child(opens, &o));
    tm__maps_after_fork(&o.maps);
  }
  o.stop = true;
  pthread_join(thread, NULL);
  CHECK(tm__file_write(path, "", 0, "headdata", 8, NULL) == TM_OK);
  CHECK(check_child(finds_it_changed, &o));
  unlink(path);
  CHECK(check_child(finds_it_gone, &o));
  tm__maps_term(&o.maps);
}

int main(void) {
  types();
  shapes();
  views();
  conversions();
  faults();
  sums();
  overflows();
  transposition();
  files();
  files_of_processes();
  return check_done();
}
