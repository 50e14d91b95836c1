-- Kernels: what they are given, what is checked, how they fail and stop, on
-- every kind of pool and by direct calls.

local tm = require "tidemill"
local core = require "tidemill.core"
local kernels = require "spec.support.kernels"
local pools = require "spec.support.pools"

local SOURCE <const> = [[
#include <string.h>
#include <unistd.h>

static int axpy(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++)
    a[0].f64[i] += a[2].f * a[1].f64[i];
  return 0;
}

static int mark(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) a[0].i32[i] += (int32_t)i + 1;
  return 0;
}

static int mark_item(const tm_call *c, const tm_arg *a) {
  a[0].i32[c->first] += (int32_t)c->first + 1;
  return 0;
}

/* Writes what it is given, as i64. */
static int given(const tm_call *c, const tm_arg *a) {
  int64_t *out = a[0].i64;
  out[0] = a[1].n;
  out[1] = a[1].rank;
  out[2] = a[1].shape[0];
  out[3] = a[1].shape[1];
  out[4] = a[1].dtype == TM_F32;
  out[5] = a[2].i;
  out[6] = (int64_t)(a[3].f * 8);
  out[7] = (int64_t)a[1].f32[a[1].n - 1];
  out[8] = c->abi == TM_KERNEL_ABI;
  return 0;
}

static int types(const tm_call *c, const tm_arg *a) {
  (void)c;
  a[0].f64[0] = 1.5;
  a[1].f32[0] = 2.5f;
  a[2].i64[0] = INT64_MIN;
  a[3].i32[0] = -7;
  a[4].u8[0] = 200;
  a[5].c128[0].re = 3;
  a[5].c128[0].im = -4;
  return 0;
}

static int chunks(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++)
    a[0].i64[i] = c->last - c->first;
  return 0;
}

static int workers(const tm_call *c, const tm_arg *a) {
  if (c->worker < 0 || c->worker >= c->workers) return 1;
  a[0].i64[c->first] = c->workers;
  return 0;
}

static int scratch(const tm_call *c, const tm_arg *a) {
  if (c->scratch_size != 4096 || (uintptr_t)c->scratch % 64) return 1;
  memset(c->scratch, (int)c->first & 127, 4096);
  a[0].u8[c->first] = ((uint8_t *)c->scratch)[4095];
  return 0;
}

static int fail_at(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) {
    if (i >= a[0].i) return c->fail(c, i, "pivot %g of item %d", 0.5, (int)i);
    a[1].u8[i] = 1;
  }
  return 0;
}

static int answer(const tm_call *c, const tm_arg *a) {
  (void)c;
  return (int)a[0].i;
}

/* Runs until nobody wants it any more. */
static int endless(const tm_call *c, const tm_arg *a) {
  (void)a;
  while (!c->cancelled(c)) usleep(200);
  return 0;
}

static int fail_slowly(const tm_call *c, const tm_arg *a) {
  if (c->first >= a[0].i)
    return c->fail(c, c->first, "no %d", (int)c->first);
  usleep(300);
  a[1].u8[c->first] = 1;
  return 0;
}

static int nothing(const tm_call *c, const tm_arg *a) {
  (void)c;
  (void)a;
  return 0;
}

TM_KERNELS(
  TM_RANGE(axpy, "f64[#] y, const f64[#] x, f64 s"),
  TM_RANGE(mark, "i32[#] x"),
  TM_ITEM(mark_item, "i32[#] x"),
  TM_RANGE(given, "i64[] out, const f32[ny,nx] m, i64 nx, f64 dt"),
  TM_RANGE(types, "f64[] a, f32[] b, i64[] c, i32[] d, u8[] e, c128[] f"),
  TM_RANGE(chunks, "i64[#] x"),
  TM_ITEM(workers, "i64[#] x"),
  TM_ITEM(scratch, "u8[#] x", .scratch = 4096),
  TM_RANGE(fail_at, "i64 at, u8[#] seen"),
  TM_ITEM(answer, "i64 code"),
  TM_ITEM(endless, ""),
  TM_ITEM(fail_slowly, "i64 at, u8[#] seen"),
  TM_RANGE(nothing, "")
);
]]

local k

local function failure(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  return err
end

local function says(text, f, ...)
  local message = tostring(failure(f, ...))
  assert.is_truthy(message:find(text, 1, true), message)
end

setup(function()
  kernels.begin()
  k = tm.compile(SOURCE)
end)

teardown(kernels.finish)

-- The ways to run a kernel: each has run(kernel, items, ...).
local ways = {
  ["a direct call"] = { run = function(_, kernel, ...) return kernel(...) end,
                        stop = function() end },
}
for _, kind in ipairs(pools.kinds) do
  ways["run of a " .. kind .. " pool"] = { kind = kind, method = "run" }
  ways["run_async of a " .. kind .. " pool"] =
    { kind = kind, method = "run_async" }
end

for name, way in pairs(ways) do
  describe(name, function()
    local pool

    local function run(kernel, items, ...)
      if way.run then return way.run(nil, kernel, items, ...) end
      if way.method == "run" then return pool:run(kernel, items, ...) end
      return pool:run_async(kernel, items, ...):get()
    end

    setup(function()
      if way.kind then pool = pools.new(way.kind) end
    end)

    teardown(function()
      if pool then pools.stop(pool) end
    end)

    it("does every item once", function()
      for _, kernel in ipairs { k.mark, k.mark_item } do
        for _, chunk in ipairs { 0, 1, 7, 5000 } do
          local x = tm.array("i32", 5000)
          run(kernel, { 5000, chunksize = chunk > 0 and chunk or nil }, x)
          for i, v in pairs(x) do assert.equal(i, v) end
        end
      end
    end)

    it("does the items from first up to last alone", function()
      local x = tm.array("i32", 10)
      run(k.mark, { 3, 6 }, x)
      assert.same({ 0, 0, 0, 4, 5, 6, 0, 0, 0, 0 }, x:totable())
      run(k.mark, { 4, 4 }, x)
      run(k.mark, 0, x)
      assert.same({ 0, 0, 0, 4, 5, 6, 0, 0, 0, 0 }, x:totable())
    end)

    it("works on views where they are", function()
      local m = tm.array("i32", { 3, 4 })
      run(k.mark, 4, m[2])
      assert.same({ { 0, 0, 0, 0 }, { 1, 2, 3, 4 }, { 0, 0, 0, 0 } },
        m:totable())
    end)

    it("gives shapes and scalars", function()
      local out, m = tm.array("i64", 9), tm.array("f32", { 3, 5 })
      m:set(3, 5, 42)
      run(k.given, 1, out, m, 5.0, 0.625)
      assert.same({ 15, 2, 3, 5, 1, 5, 5, 42, 1 }, out:totable())
    end)

    it("gives every type of element", function()
      local list = {}
      for i, dtype in ipairs { "f64", "f32", "i64", "i32", "u8", "c128" } do
        list[i] = tm.array(dtype, 1)
      end
      run(k.types, 1, table.unpack(list))
      assert.equal(1.5, list[1][1])
      assert.equal(2.5, list[2][1])
      assert.equal(math.mininteger, list[3][1])
      assert.equal(-7, list[4][1])
      assert.equal(200, list[5][1])
      assert.same({ 3.0, -4.0 }, { list[6]:get(1) })
    end)

    it("gives a worker a number and memory of its own", function()
      local x, bytes = tm.array("i64", 300), tm.array("u8", 300)
      run(k.workers, 300, x)
      assert.equal(x:min(), x:max())
      run(k.scratch, { 300, chunksize = 1 }, bytes)
      for i, v in pairs(bytes) do assert.equal((i - 1) % 128, v) end
    end)

    it("names the lowest item that failed", function()
      for _, chunk in ipairs { 1, 10, 1000 } do
        local seen = tm.array("u8", 1000)
        local e = failure(run, k.fail_at, { 1000, chunksize = chunk }, 333,
          seen)
        assert.equal("task", e.kind)
        assert.equal(333, e.item)
        assert.equal("fail_at", e.task)
        assert.equal("pivot 0.5 of item 333", e.message)
        assert.equal(333, seen:view(1, 333):sum())
      end
    end)

    it("tells a failure without a message", function()
      local e = failure(run, k.answer, 5, 42)
      assert.equal("the kernel answered 42", e.message)
      assert.equal(0, e.item)
      assert.is_nil((run(k.answer, 5, 0)))
    end)

    it("stops when its time is up", function()
      local e = failure(run, k.endless, { 3, timeout = 0.02 })
      assert.equal("timeout", e.kind)
      run(k.nothing, { 10, timeout = 60 })
    end)

    it("checks arguments before anything runs", function()
      local x, y = tm.array("f64", 10), tm.array("f64", 9)
      says("kernel 'axpy': argument 2 'x' must be const f64[#], whose extent 1 "
        .. "is at least 10 (got f64[9])", run, k.axpy, 10, x, y, 1)
      says("kernel 'axpy': argument 1 'y' must be f64[#] (got f32[10])",
        run, k.axpy, 10, tm.array("f32", 10), x, 1)
      says("kernel 'axpy': argument 3 's' must be f64 (got a string)",
        run, k.axpy, 9, x, y, "2")
      says("kernel 'axpy': 3 arguments expected, got 2", run, k.axpy, 9, x, y)
      says("3 arguments expected, got 4", run, k.axpy, 9, x, y, 1, 2)
      assert.equal(0.0, x:sum())
    end)

    it("checks the range", function()
      local x = tm.array("i32", 10)
      says("the number of items must be a whole number (got 1.5)",
        run, k.mark, 1.5, x)
      says("must be a whole number (got nil)", run, k.mark, {}, x)
      says("the range's last must be a whole number", run, k.mark, { 1, "x" },
        x)
      says("ends before it begins (0 to -1)", run, k.mark, -1, x)
      says("before item 0 (at -1)", run, k.mark, { -1, 3 }, x)
      says("ends before it begins", run, k.mark, { 3, 1 }, x)
      says("{first, last}", run, k.mark, { 1, 2, 3 }, x)
      says("did you mean 'chunksize'", run, k.mark, { 3, chunksise = 1 }, x)
      says("'chunksize' must be a whole number from 1", run, k.mark,
        { 3, chunksize = 0 }, x)
      says("'timeout' must be a number of seconds above 0", run, k.mark,
        { 3, timeout = -1 }, x)
      says("'retries' must be a whole number from 0", run, k.mark,
        { 3, retries = -1 }, x)
      run(k.mark, { 10.0, retries = 1 }, x)
      assert.equal(55, x:sum())
    end)
  end)
end

for _, kind in ipairs(pools.kinds) do
  describe("in a " .. kind .. " pool, a read-only array", function()
    it("is taken where the signature says const, else refused", function()
      local path = os.tmpname()
      local pool <close> = pools.new(kind)
      local x = tm.array("f64", 4)
      x:fill(2)
      x[4] = 3
      x:save(path)
      local frozen = tm.load(path, { mmap = true })
      local y = tm.array("f64", 4)
      pool:run(k.axpy, 4, y, frozen, 3)
      assert.equal(27.0, y:sum())
      says("argument 1 'y' is written to by the kernel, and the array is "
        .. "read-only", pool.run, pool, k.axpy, 4, frozen, y, 1)
      pool:run_async(k.axpy, 2, y, frozen:view(3, 4), 1):get()
      assert.same({ 8.0, 9.0, 6.0, 9.0 }, y:totable())
      os.remove(path)
    end)
  end)
end

for _, kind in ipairs(pools.concurrent) do
  describe("in a " .. kind .. " pool, run_async", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("calls the kernel with chunks of the size that is asked for", function()
      local x = tm.array("i64", 1000)
      for _, size in ipairs { 1, 10, 1000 } do
        for _, run in ipairs { "run", "run_async" } do
          local r = pool[run](pool, k.chunks, { 1000, chunksize = size }, x)
          if r then r:get() end
          assert.equal(size, x:min())
          assert.equal(size, x:max())
        end
      end
    end)

    it("calls back, and keeps the arrays while it runs", function()
      local got
      local r = pool:run_async(k.mark, { 1000, callback = function(...)
        got = select("#", ...)
      end }, tm.array("i32", 1000))
      collectgarbage()
      collectgarbage()
      assert.is_nil((r:get()))
      assert.equal(0, got)
    end)

    it("gives errors to error_callback", function()
      local got
      local r = pool:run_async(k.answer, { 3, error_callback = function(e)
        got = e
      end }, 7)
      pcall(r.get, r)
      assert.equal("the kernel answered 7", got.message)
      assert.has_error(function()
        pool:run_async(k.answer, { 3, callback = 1 }, 7)
      end)
    end)

    it("can be cancelled", function()
      local r = pool:run_async(k.endless, 100)
      assert.is_false(r:wait(0.01))
      assert.is_true(r:cancel())
      assert.equal("cancelled", failure(r.get, r).kind)
    end)

    it("ends with its pool", function()
      local own = pools.new(kind)
      local r = own:run_async(k.endless, 100)
      own:terminate()
      own:join()
      assert.equal("cancelled", failure(r.get, r).kind)
    end)

    it("does all items below the one that failed", function()
      for at = 0, 60, 20 do
        local seen = tm.array("u8", 64)
        local r = pool:run_async(k.fail_slowly, { 64 }, at, seen)
        local e = failure(r.get, r)
        assert.equal(at, e.item)
        assert.equal("no " .. at, e.message)
        for i = 1, at do assert.equal(1, seen[i]) end
      end
    end)

    it("leaves nothing behind", function()
      local function round()
        local x = tm.array("i32", 100000)
        pool:run_async(k.mark, 100000, x):get()
        pool:run(k.mark, 100000, x)
      end
      round()
      pools.collect()
      local before = core.arena_stats().blocks
      for _ = 1, 20 do round() end
      pools.wait_until(function()
        pools.collect()
        round() -- a worker lets go of one job when it takes another
        pools.collect()
        return core.arena_stats().blocks <= before
      end, "memory to be given back")
    end)
  end)

  describe("in a " .. kind .. " pool, a kernel", function()
    it("travels to workers, and runs there in the task's own thread",
      function()
        local pool <close> = pools.new(kind)
        local mark = k.mark
        local sums = pool:map(function(n)
          local x = tm.array("i32", n)
          mark(n, x)
          tm.FakePool():run(mark, n, x)
          return x:sum()
        end, { 10, 100, 1000 })
        assert.same({ 110, 10100, 1001000, n = 3 }, sums)
      end)

    it("comes back the same", function()
      local pool <close> = pools.new(kind)
      local mark = k.mark
      assert.equal(mark, pool:apply(function() return mark end))
      assert.not_equal(mark, k.axpy)
    end)

    it("is refused where it makes no sense", function()
      local pool <close> = pools.new(kind)
      says("bad argument #1 to 'run' (kernel expected, got function)",
        function() pool:run(print, 1) end)
      says("how many items?", function() pool:run(k.nothing) end)
      pool:close()
      says("run: the pool is closed", function() pool:run(k.nothing, 1) end)
      says("run_async: the pool is closed",
        function() pool:run_async(k.nothing, 1) end)
    end)
  end)
end

describe("a kernel", function()
  it("runs on a shared pool in a task", function()
    local pool <close> = pools.new "thread"
    local mark = k.mark
    assert.equal(110, pool:apply(function()
      local x = tm.array("i32", 10)
      mark(10, x)
      tm.thread_pool():run(mark, 10, x)
      return x:sum()
    end))
  end)

  it("runs on its own pool in a task, and in no region of another", function()
    local pool <close> = pools.new "thread"
    local workers = k.workers
    local counts = pool:map(function()
      local x = tm.array("i64", 50)
      local own <close> = tm.Pool { kind = "thread", workers = 2 }
      own:run(workers, 50, x)
      return x:min()
    end, { 1, 2 })
    assert.same({ 2, 2, n = 2 }, counts)
  end)

  it("can be asked", function()
    assert.equal("axpy", k.axpy.name)
    assert.equal("range", k.axpy.kind)
    assert.equal("item", k.mark_item.kind)
    assert.equal("f64[#] y, const f64[#] x, f64 s", k.axpy.signature)
    assert.equal("tidemill.kernel 'mark' (i32[#] x)", tostring(k.mark))
  end)
end)

describe("load_kernels", function()
  it("loads a library by its path, here and in workers", function()
    local path = kernels.files("%.so$")[1]
    local again = tm.load_kernels(path)
    assert.equal(k.mark, again.mark)
  end)

  it("says what it cannot load", function()
    says("load_kernels: ./no.so", tm.load_kernels, "./no.so")
    says("no table of them", tm.load_kernels, "libm.so.6")
    says("bad argument #1 to 'load_kernels'", tm.load_kernels, 1)
  end)

  it("knows that the host has registered none", function()
    says("the host has registered no kernel 'x'", tm.kernel, "x")
  end)
end)
