/*
 * host_plus.cpp: a host in C++17
 *
 *     c++ -std=c++17 host_plus.cpp $(pkg-config --cflags --libs tidemill)
 *
 * What a C++ program puts around the C functions: errors become exceptions,
 * what has to be freed is freed, a lambda is an item of a map, and a vector is
 * an array that scripts and kernels see in place.
 */
#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <tidemill.h>

namespace {

class Error : public std::runtime_error {
public:
  Error(int code, const tm_error &e)
      : std::runtime_error(std::string(tm_status_name(code)) + ": " + e.text) {}
};

/* call([&](tm_error *e) { return tm_...(..., e); }): an Error when it fails. */
template <typename F> void call(F &&f) {
  tm_error e;
  if (int code = f(&e)) throw Error(code, e);
}

template <auto free_it> struct Free {
  template <typename T> void operator()(T *object) const { free_it(object); }
};

using Runtime = std::unique_ptr<tm_runtime, Free<tm_runtime_free>>;
using Script = std::unique_ptr<tm_script, Free<tm_script_free>>;
using Pool = std::unique_ptr<tm_pool, Free<tm_pool_free>>;
using Array = std::unique_ptr<tm_array, Free<tm_array_release>>;

Runtime make_runtime(int threads) {
  tm_runtime *rt;
  tm_config config;
  tm_config_init(&config);
  config.threads = threads;
  call([&](tm_error *e) { return tm_runtime_new(&rt, &config, e); });
  return Runtime(rt);
}

Script make_script(const Runtime &rt) {
  tm_script *script;
  call([&](tm_error *e) { return tm_script_new(&script, rt.get(), 0, e); });
  return Script(script);
}

Pool make_pool(const Runtime &rt) {
  tm_pool *pool;
  call([&](tm_error *e) { return tm_pool_new(&pool, rt.get(), nullptr, e); });
  return Pool(pool);
}

/* The array keeps the vector: it goes when nobody uses the array any more. */
Array wrap(const Runtime &rt, std::shared_ptr<std::vector<double>> v) {
  using Shared = std::shared_ptr<std::vector<double>>;
  auto held = std::make_unique<Shared>(std::move(v));
  const std::int64_t shape[] = {static_cast<std::int64_t>((*held)->size())};
  tm_array *a;
  call([&](tm_error *e) {
    return tm_array_wrap(
        &a, rt.get(), (*held)->data(), TM_F64, 1, shape, 0,
        [](void *user, void *) { delete static_cast<Shared *>(user); },
        held.get(), e);
  });
  held.release();
  return Array(a);
}

/* out[i] = f(in[i]) on all cores. f may throw: the map fails with its text. */
template <typename In, typename Out, typename F>
std::vector<Out> map(const Pool &pool, const std::vector<In> &in, F f) {
  std::vector<Out> out(in.size());
  tm_item_fn one = [](const tm_call *c, const void *x, void *y, void *user) {
    try {
      *static_cast<Out *>(y) =
          (*static_cast<F *>(user))(*static_cast<const In *>(x));
      return 0;
    } catch (const std::exception &e) {
      return c->fail(c, c->first, "%s", e.what());
    }
  };
  call([&](tm_error *e) {
    return tm_pool_map(pool.get(), one, &f,
                       static_cast<std::int64_t>(in.size()), in.data(),
                       sizeof(In), out.data(), sizeof(Out), nullptr, e);
  });
  return out;
}

/* ---- kernels ---------------------------------------------------------- */

int scale(const tm_call *c, const tm_arg *a) {
  for (std::int64_t i = c->first; i < c->last; i++) a[0].f64[i] *= a[1].f;
  return 0;
}

int norm(const tm_call *c, const tm_arg *a) {
  for (std::int64_t i = c->first; i < c->last; i++)
    *c->acc.f64 += a[0].f64[i] * a[0].f64[i];
  return 0;
}

const tm_kernel kernels[] = {TM_RANGE(scale, "f64[#] x, f64 factor"),
                             TM_RANGE(norm, "const f64[#] x", "sum f64")};

/* ---- the program ------------------------------------------------------ */

const char steering[] = R"lua(
local tm = require "tidemill"
local pool = tm.thread_pool()
local x, target = ...
local square = pool:run(tm.kernel "norm", #x, x)
pool:run(tm.kernel "scale", #x, x, target / math.sqrt(square))
return math.sqrt(pool:run(tm.kernel "norm", #x, x))
)lua";

double normalise(const Runtime &rt, const Array &x, double target) {
  Script script = make_script(rt);
  tm_value args[] = {tm_array_value(x.get()), tm_number(target)};
  call([&](tm_error *e) {
    return tm_script_run_string(script.get(), steering, "steering", args, 2, e);
  });
  return tm_script_result(script.get(), 0).as.number;
}

double root(double x) {
  if (x < 0) throw std::domain_error("no root of " + std::to_string(x));
  return std::sqrt(x);
}

bool program() {
  Runtime rt = make_runtime(3);
  for (const tm_kernel &k : kernels)
    call([&](tm_error *e) { return tm_kernel_register(rt.get(), &k, e); });
  auto v = std::make_shared<std::vector<double>>(100000, 3.0);
  double length = normalise(rt, wrap(rt, v), 10);
  std::printf("a vector of length %.6f\n", length);

  Pool pool = make_pool(rt);
  auto roots = map<double, double>(pool, {4, 9, 16}, root);
  std::printf("roots %g %g %g\n", roots[0], roots[1], roots[2]);
  try {
    map<double, double>(pool, {4, -9, 16}, root);
  } catch (const Error &e) {
    std::printf("%s\n", e.what());
    return std::abs(length - 10) < 1e-9 && roots[2] == 4 && v.use_count() == 1;
  }
  return false;
}

} // namespace

int main() {
  try {
    return program() ? 0 : 1;
  } catch (const std::exception &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
