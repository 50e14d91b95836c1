/*
 * Signatures: what parses, what does not, and what checking says.
 */
#include <string.h>

#include "check.h"
#include "run/signature.h"

static check_heap heap;
static const tm__mem mem = {.fn = check_alloc, .user = &heap};

static bool parses(const char *text) {
  tm__signature s;
  tm_error e;
  if (tm__signature_init(&s, &mem, text, &e)) {
    fprintf(stderr, "%s\n", e.text);
    return false;
  }
  tm__signature_term(&s);
  return true;
}

/* Whether text is refused with a message that says `why`. */
static bool refuses(const char *text, const char *why) {
  tm__signature s;
  tm_error e = {.text = ""};
  if (tm__signature_init(&s, &mem, text, &e) == TM_OK) {
    tm__signature_term(&s);
    return false;
  }
  if (e.code == TM_EINVAL && strstr(e.text, why)) return true;
  fprintf(stderr, "%s\n", e.text);
  return false;
}

static void test_parsing(void) {
  CHECK(parses(""));
  CHECK(parses("  "));
  CHECK(parses("f64[] out, f64[] in, i64 nx, f64 dt"));
  CHECK(parses("const f64[ny,nx] u,f64[ ny , nx ] v"));
  CHECK(parses("c128[#], u8[*,3] m, i32[nx+1] a, f32[nx-2] b, i64 nx"));
  CHECK(parses("f64[1,2,3,4,5,6,7,8] x"));
  CHECK(refuses("f65[] x", "type (f64, f32"));
  CHECK(refuses("f64[] x,", "got the end"));
  CHECK(refuses("f64[ x", "',' or ']'"));
  CHECK(refuses("f64[1,2,3,4,5,6,7,8,9] x", "at most 8"));
  CHECK(refuses("f64 x, f64[] x", "two arguments are named 'x'"));
  CHECK(refuses("c128 z", "always an array"));
  CHECK(refuses("f64 x f64 y", "column 7"));
  CHECK(refuses("f64[99999999999999999999] x", "smaller number"));
  CHECK(refuses("f64[n+] x", "a number expected"));
  CHECK(refuses("f64", "a name expected"));
  CHECK(refuses("f64[] abcdefghijklmnopqrstuvwxyzabcdefgh", "31 letters"));
}

/* ---- checking ---- */

static const int64_t shape10[] = {10}, shape35[] = {3, 5}, shape53[] = {5, 3};

static tm__value array(int dtype, int rank, const int64_t *shape) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++) n *= shape[i];
  return (tm__value){
      .kind = TM__VALUE_ARRAY,
      .arg = {.dtype = dtype, .rank = rank, .shape = shape, .n = n}};
}

static tm__value integer(int64_t i) {
  return (tm__value){.kind = TM__VALUE_INT, .arg = {.i = i}};
}

static tm__value number(double f) {
  return (tm__value){.kind = TM__VALUE_FLOAT, .arg = {.f = f}};
}

static tm__value other(const char *what) {
  return (tm__value){.kind = TM__VALUE_OTHER, .what = what};
}

enum { MOST = 4 };

/* Checks values against text for a job of `last` items: NULL when they fit,
   else the message. */
static const char *check(const char *text, int64_t last, int n,
                         tm__value values[MOST]) {
  static tm_error e;
  tm__signature s;
  tm_arg args[TM__PARAM_LIMIT];
  e = (tm_error){.text = ""};
  if (tm__signature_init(&s, &mem, text, &e)) return e.text;
  int status = tm__signature_check(&s, "k", values, n, last, args, &e);
  tm__signature_term(&s);
  return status ? e.text : NULL;
}

#define FITS(text, last, ...)                                                  \
  CHECK(check(text, last,                                                      \
              (int)(sizeof(tm__value[]){__VA_ARGS__} / sizeof(tm__value)),     \
              (tm__value[MOST]){__VA_ARGS__}) == NULL)

static bool says(const char *message, const char *what) {
  if (message && strstr(message, what)) return true;
  fprintf(stderr, "%s\n", message ? message : "(no error)");
  return false;
}

#define SAYS(what, text, last, ...)                                            \
  CHECK(                                                                       \
      says(check(text, last,                                                   \
                 (int)(sizeof(tm__value[]){__VA_ARGS__} / sizeof(tm__value)),  \
                 (tm__value[MOST]){__VA_ARGS__}),                              \
           what))

static void test_scalars(void) {
  FITS("f64 x, i64 n", 0, number(0.5), integer(3));
  FITS("f64 x, i64 n", 0, integer(1), number(3.0));
  FITS("u8 x, i32 y", 0, integer(255), integer(INT32_MIN));
  SAYS("argument 1 'n' must be i64 (got 2.5)", "i64 n", 0, number(2.5));
  SAYS("must be i64 (got 1e+30)", "i64 n", 0, number(1e30));
  SAYS("must be u8 (got 256)", "u8 x", 0, integer(256));
  SAYS("must be u8 (got -1)", "u8 x", 0, integer(-1));
  SAYS("must be i32 (got 2147483648)", "i32 x", 0, integer(2147483648));
  SAYS("must be f64 (got a string)", "f64 x", 0, other("a string"));
  SAYS("must be f64 (got f64[10])", "f64 x", 0, array(TM_F64, 1, shape10));
  SAYS("kernel 'k': 2 arguments expected, got 1", "f64 x, f64 y", 0, number(1));
}

static void test_arrays(void) {
  tm__value frozen = array(TM_F64, 1, shape10);
  frozen.readonly = true;
  FITS("f64[] a", 99, array(TM_F64, 2, shape35));
  FITS("const f64[] a", 0, frozen);
  SAYS("argument 1 'a' is written to by the kernel", "f64[] a", 0, frozen);
  SAYS("kernel 'k': argument 1 'a' must be f64[] (got f32[10])", "f64[] a", 0,
       array(TM_F32, 1, shape10));
  SAYS("argument 1 must be const i64[n] (got 5)", "const i64[n]", 0,
       integer(5));
  SAYS("must be f64[n] (got f64[3,5])", "f64[n] a", 0,
       array(TM_F64, 2, shape35));
}

static void test_extents(void) {
  tm__value ten = array(TM_F64, 1, shape10);
  tm__value m35 = array(TM_F64, 2, shape35), m53 = array(TM_F64, 2, shape53);
  FITS("f64[ny,nx] u, f64[ny,nx] v", 0, m35, m35);
  FITS("f64[a,b] u, f64[b,a] v", 0, m35, m53);
  FITS("f64[n] u, i64 n", 0, ten, integer(10));
  FITS("f64[n+1] u, i64 n", 0, ten, integer(9));
  FITS("f64[n-1] u, f64[n-1] v", 0, ten, ten);
  FITS("f64[10] u, f64[*,5] v", 0, ten, m35);
  FITS("f64[#] u, f64[#,*] v", 3, ten, m35);
  SAYS("argument 2 'v' must be f64[ny,nx], whose extent 1 is 3 (got f64[5,3]; "
       "ny = 3 comes from argument 1 'u')",
       "f64[ny,nx] u, f64[ny,nx] v", 0, m35, m53);
  SAYS("extent 1 is 11 (got f64[10]; n = 11 comes from argument 2 'n')",
       "f64[n] u, i64 n", 0, ten, integer(11));
  SAYS("must be f64[n+1], whose extent 1 is 11", "f64[n+1] u, i64 n", 0, ten,
       integer(10));
  SAYS("must be f64[9], whose extent 1 is 9 (got f64[10])", "f64[9] u", 0, ten);
  SAYS("must be f64[#], whose extent 1 is at least 11 (got f64[10])",
       "f64[#] u", 11, ten);
  SAYS("whose extent 2 is 3 (got f64[3,5]", "f64[n,n] u", 0, m35);
  SAYS("extent 1", "f64[n+1] u, i64 n", 0, ten, integer(INT64_MAX));
}

/* What the kernel is given. */
static void test_conversion(void) {
  tm__signature s;
  tm_error e;
  tm_arg args[3];
  double x[10];
  tm__value values[] = {array(TM_F64, 1, shape10), integer(2), number(4.0)};
  values[0].arg.f64 = x;
  CHECK(tm__signature_init(&s, &mem, "f64[] x, f64 a, i64 b", &e) == TM_OK);
  CHECK(tm__signature_check(&s, "k", values, 3, 0, args, &e) == TM_OK);
  CHECK(args[0].f64 == x && args[0].n == 10 && args[0].shape == shape10);
  CHECK(args[1].f == 2.0 && args[1].rank == 0 && args[1].dtype == TM_F64);
  CHECK(args[2].i == 4);
  tm__signature_term(&s);
}

static void test_no_memory(void) {
  tm__signature s;
  tm_error e;
  for (int i = 1; i <= 3; i++) {
    heap.requests = 0;
    heap.fail_at = i;
    CHECK(tm__signature_init(&s, &mem, "f64[n] x", &e) == TM_ENOMEM);
  }
  heap.fail_at = 0;
}

int main(void) {
  test_parsing();
  test_scalars();
  test_arrays();
  test_extents();
  test_conversion();
  test_no_memory();
  CHECK(heap.live == 0);
  return check_done();
}
