-- Kernels in worker processes: those that were made after the workers were
-- started, and what happens when a worker dies in one.

local tm = require "tidemill"
local kernels = require "spec.support.kernels"
local pools = require "spec.support.pools"

local SOURCE <const> = [[
#include <signal.h>
#include <unistd.h>

/* Who did each item. */
static int pids(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) a[0].i64[i] = getpid();
  return 0;
}

static int sum(const tm_call *c, const tm_arg *a) {
  double s = 0;
  for (int64_t i = c->first; i < c->last; i++) s += a[0].f64[i];
  *c->acc.f64 += s;
  return 0;
}

/* Kills its process at item `at`, `times` times, with the block's sum half
   made. */
static int dies(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) {
    *c->acc.f64 += a[0].f64[i];
    if (i == a[1].i && a[3].i64[0]++ < a[2].i) raise(SIGKILL);
  }
  return 0;
}

/* Does not ask whether it is wanted. */
static int stuck(const tm_call *c, const tm_arg *a) {
  a[0].i64[c->first] = 1;
  for (;;) pause();
}

static int endless(const tm_call *c, const tm_arg *a) {
  (void)a;
  while (!c->cancelled(c)) usleep(200);
  return 0;
}

TM_KERNELS(
  TM_RANGE(pids, "i64[#] x"),
  TM_RANGE(sum, "const f64[#] x", .reduce = "sum f64"),
  TM_RANGE(dies, "const f64[#] x, i64 at, i64 times, i64[1] count",
           .reduce = "sum f64"),
  TM_ITEM(stuck, "i64[#] begun"),
  TM_ITEM(endless, "")
);
]]

local OTHER <const> = [[
static int twice(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) a[0].f64[i] *= 2;
  return 0;
}
TM_KERNELS(TM_RANGE(twice, "f64[#] x"));
]]

local k, folder
local MATH <const> = "libm.so.6"
local ffi = pcall(tm.cfunction, MATH, "double cos(double)")

local function failure(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  return err
end

local function says(text, f, ...)
  local message = tostring(failure(f, ...))
  assert.is_truthy(message:find(text, 1, true), message)
end

local function counted(n)
  local x = tm.array("f64", n)
  for i = 1, n do x[i] = i end
  return x
end

--- A pool whose workers have begun to work.
local function started()
  local pool = pools.new "process"
  pool:map(function() return 1 end, tm.range(4))
  return pool
end

--- Text that nobody has compiled: with a line of its own.
local fresh = 0
local function unique(source)
  fresh = fresh + 1
  return ("/* %d */\n"):format(fresh) .. source
end

setup(function()
  folder = kernels.begin()
  k = tm.compile(SOURCE)
end)

teardown(kernels.finish)

describe("a kernel that is made after the workers", function()
  local pool

  before_each(function() pool = started() end)
  after_each(function() pools.stop(pool) end)

  it("is found by its library and its name", function()
    local twice = tm.compile(unique(OTHER)).twice
    local x = counted(1000)
    pool:run(twice, 1000, x)
    pool:run_async(twice, 1000, x):get()
    assert.equal(4.0 * 500500, x:sum())
  end)

  it("travels in functions", function()
    local twice = tm.compile(unique(OTHER)).twice
    local x = counted(10)
    pool:map(function(i) twice({ i - 1, i }, x) end, tm.range(10))
    assert.equal(110.0, x:sum())
  end)

  if ffi then
    it("may be a plain C function", function()
      local root = tm.cfunction(MATH, "double sqrt(double)")
      local x, y = counted(8), tm.array("f64", 8)
      pool:run(root, 8, y, x)
      assert.equal(math.sqrt(8), y[8])
      assert.equal(3.0, pool:apply(root, { 9 }))
    end)
  end

  it("may have arrays that are files", function()
    local path = folder .. "/x.npy"
    counted(1000):save(path)
    local x = tm.load(path, { mmap = true })
    assert.equal(500500.0, pool:run(k.sum, 1000, x))
    assert.equal(500500.0 - 55, pool:run(k.sum, 990, x:view(11, 1000)))
  end)

  it("may be gone when it is needed", function()
    local before = kernels.files "%.so$"
    local twice = tm.compile(unique(OTHER)).twice
    for _, path in ipairs(kernels.files "%.so$") do
      if not table.concat(before, "\n"):find(path, 1, true) then
        os.remove(path)
      end
    end
    local e = failure(pool.run, pool, twice, 4, counted(4))
    assert.equal("twice", e.task)
    says("kernel 'twice' of " .. twice.library, error, e)
    says("cannot open shared object file", error, e)
    says("cannot open shared object file", pool.apply, pool,
      function() return twice end)
    if pools.start_method == "spawn" then return end
    local new <close> = pools.new "process" -- has it from the script
    local x = counted(4)
    new:run(twice, 4, x)
    assert.equal(20.0, x:sum())
  end)

  it("may be another one there by then", function()
    local path = folder .. "/lib.so"
    local function copy(source)
      local library = tm.compile(unique(source))
      local _, one = next(library)
      os.remove(path)
      os.execute(("cp '%s' '%s'"):format(one.library, path))
      return path
    end
    local twice = tm.load_kernels(copy(OTHER)).twice
    copy((OTHER:gsub("f64%[#%]", "f64[]")))
    says("kernel 'twice' of " .. path .. ": is another one in this worker "
      .. "process", pool.run, pool, twice, 4, counted(4))
  end)
end)

describe("a worker process in a kernel", function()
  local pool

  setup(function() pool = started() end)
  teardown(function() pools.stop(pool) end)

  it("does the items in the place of the script", function()
    local x = tm.array("i64", 5000)
    local own = tm.array("i64", 1)
    k.pids(1, own)
    for _, n in ipairs { 1, 5000 } do
      pool:run(k.pids, n, x)
      for i = 1, n do
        if x[i] == own[1] or x[i] == 0 then error("item " .. i) end
      end
    end
  end)

  it("fails its item when it dies", function()
    for round = 1, 3 do
      local count = tm.array("i64", 1)
      local e = failure(pool.run, pool, k.dies, 100, counted(100), 9 * round,
        1, count)
      assert.equal("worker_died", e.kind)
      assert.equal(9 * round, e.item)
      assert.equal("dies", e.task)
      assert.matches("killed by SIGKILL", e.message)
    end
    assert.equal(5050.0, pool:run(k.sum, 100, counted(100)))
  end)

  it("names the items that it had", function()
    local e = failure(pool.run, pool, k.dies, 2560, counted(2560), 25, 1,
      tm.array("i64", 1))
    assert.equal(20, e.item)
    assert.matches("in one of the items 20 to 29", e.message)
  end)

  it("is replaced, and its items done again, sum and all", function()
    local x = counted(2560)
    local alone = k.sum(2560, x)
    for _, run in ipairs { "run", "run_async" } do
      local count = tm.array("i64", 1)
      local r = pool[run](pool, k.dies, { 2560, retries = 3 }, x, 1234, 3,
        count)
      if run == "run_async" then r = r:get() end
      assert.equal(alone, r)
      assert.equal(4, count[1])
      local e = failure(pool.run, pool, k.dies, { 2560, retries = 1 }, x,
        1234, 9, tm.array("i64", 1))
      assert.equal("worker_died", e.kind)
    end
  end)

  it("is killed when it does not notice that its time is up", function()
    for _, run in ipairs { "run", "run_async" } do
      local e = failure(function()
        local r = pool[run](pool, k.stuck, { 2, timeout = 0.05 },
          tm.array("i64", 2))
        return r:get()
      end)
      assert.equal("timeout", e.kind)
    end
    assert.equal(10.0, pool:run(k.sum, 4, counted(4)))
  end)

  it("is told when the job is cancelled", function()
    local r = pool:run_async(k.endless, 10)
    assert.is_true(r:cancel())
    assert.equal("cancelled", failure(r.get, r).kind)
    assert.equal(10.0, pool:run(k.sum, 4, counted(4)))
  end)

  it("ends with its pool though it is stuck", function()
    local own = pools.new "process"
    local begun = tm.array("i64", 2)
    local r = own:run_async(k.stuck, 2, begun)
    pools.wait_until(function() return begun:sum() > 0 end, "the kernel")
    own:terminate()
    own:join()
    assert.equal("cancelled", failure(r.get, r).kind)
  end)
end)

describe("run in a process pool", function()
  local child = require "spec.support.child"

  it("gives up when the script is interrupted", function()
    local outcome = child.run([==[
      local tm = require "tidemill"
      local k = tm.compile [[
        #include <signal.h>
        #include <unistd.h>
        static int interrupts(const tm_call *c, const tm_arg *a) {
          (void)a;
          kill(getppid(), SIGINT);
          while (!c->cancelled(c)) usleep(200);
          return 0;
        }
        TM_KERNELS(TM_ITEM(interrupts, ""));
      ]]
      local pool = tm.Pool { kind = "process", workers = 2 }
      local ok, e = pcall(pool.run, pool, k.interrupts, 1)
      print(ok, e.kind, e.message)
      print(pool:apply(math.abs, { -3 }))
    ]==])
    assert.equal("false\tinterrupted\tkernel 'interrupts' was interrupted\n3\n",
      outcome.out, outcome.err)
  end)
end)
