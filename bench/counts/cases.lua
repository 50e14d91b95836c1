--- What `make bench-counts` counts: each case is prepared, and then done so
--- many times. bench/counts.lua runs this under callgrind.
---
---     tidemill bench/counts/cases.lua CASE TIMES

local core = require "tidemill.core"
local tm = require "tidemill"

local cases = {}

local function add_one(x) return x + 1 end

-- ---- the codec ------------------------------------------------------------

local makers = {
  floats = function(i) return i + 0.5 end,
  integers = function(i) return i end,
  strings = function(i) return "name" .. i end,
  records = function(i)
    return { id = i, name = "n" .. i, xs = { 1, 2, 3 } }
  end,
}

-- TIMES are elements, of a value of 1000 that is the same in both counts, so
-- that making it does not count.
for kind, make in pairs(makers) do
  local function value()
    local t = {}
    for i = 1, 1000 do t[i] = make(i) end
    return t
  end
  cases["pack_" .. kind] = function(times)
    local t = value()
    for _ = 1, times // 1000 do core.pack(t) end
  end
  cases["unpack_" .. kind] = function(times)
    local bytes = core.pack(value())
    for _ = 1, times // 1000 do core.unpack(bytes) end
  end
end

-- ---- pools without threads ------------------------------------------------

function cases.loop(times)
  local out = {}
  for i = 1, times do out[i] = add_one(i) end
  return out
end

function cases.fake_map(times)
  tm.FakePool():map(add_one, tm.range(times))
end

function cases.fake_map_limit(times)
  tm.FakePool():map(add_one, tm.range(times), { timeout = 60 })
end

function cases.fake_map_chunk1(times)
  tm.FakePool():map(add_one, tm.range(times), 1)
end

function cases.fake_map_fails(times)
  local function fail() error("no", 0) end
  tm.FakePool():map(fail, tm.range(times), { errors = "collect" })
end

function cases.fake_apply(times)
  local pool = tm.FakePool()
  for i = 1, times do pool:apply(add_one, { i }) end
end

-- ---- kernels on the calling thread ----------------------------------------

local SOURCE = [[
#include "tidemill_kernel.h"

static int nothing(const tm_call *c, const tm_arg *a) {
  (void)c;
  (void)a;
  return 0;
}

TM_KERNELS(TM_RANGE(nothing, ""));
]]

local function kernel()
  return tm.compile(SOURCE).nothing
end

function cases.chunk(times)
  kernel() { times, chunksize = 1 }
end

function cases.kernel_call(times)
  local nothing = kernel()
  for _ = 1, times do nothing(1) end
end

function cases.element(times)
  local array, s = tm.array("f64", 100), 0.0
  for i = 1, times do s = s + array[i % 100 + 1] end
end

local case = assert(cases[arg[1]], "no such case")
case(math.tointeger(tonumber(arg[2])))
