-- The codec: time for large values, there and summed; and that it grows in
-- proportion.

local core = require "tidemill.core"
local tm = require "tidemill"

local ROUNDS <const> = 9

--- Median of milliseconds.
local function time(f)
  local list = {}
  for i = 1, ROUNDS do
    collectgarbage()
    collectgarbage()
    local start = tm.clock()
    f()
    list[i] = (tm.clock() - start) * 1e3
  end
  table.sort(list)
  return list[ROUNDS // 2 + 1]
end

local function floats(n)
  local t = {}
  for i = 1, n do t[i] = i + 0.5 end
  return t
end

local function records(n)
  local t = {}
  for i = 1, n do t[i] = { id = i, name = "n" .. i, xs = { 1, 2, 3 } } end
  return t
end

local function chain(n)
  local t = {}
  for _ = 1, n do t = { t } end
  return t
end

local Class = {}
Class.__index = Class

local function instances(n)
  local t = {}
  for i = 1, n do t[i] = setmetatable({ id = i }, Class) end
  return t
end

local function functions(n)
  local t = {}
  for i = 1, n do t[i] = function() return i end end
  return t
end

local function sum_floats(t)
  local s = 0
  for i = 1, #t do s = s + t[i] end
  return s
end

local function sum_records(t)
  local s = 0
  for i = 1, #t do s = s + t[i].id + t[i].xs[2] end
  return s
end

local function there_and_summed(pool)
  for _, case in ipairs {
    { "1e6 floats", floats(1000000), sum_floats, 45 },
    { "1e5 records", records(100000), sum_records, 150 },
  } do
    local name, value, sum, goal = table.unpack(case)
    local bytes = core.pack(value)
    print(("%-12s  to a worker and summed %6.1f ms (goal %d), "
      .. "pack %5.1f, unpack %5.1f, %.1f MiB"):format(name,
      time(function() pool:apply(sum, { value }) end), goal,
      time(function() core.pack(value) end),
      time(function() core.unpack(bytes) end), #bytes / 2^20))
  end
end

--- Ten times the nodes: ten times the bytes, and less than 4 x 10 the time.
local function growth()
  for _, case in ipairs {
    { "records", records }, { "chain", chain }, { "instances", instances },
    { "functions", functions }
  } do
    local name, make = table.unpack(case)
    local small, large = make(10000), make(100000)
    local function both(value)
      return function() core.unpack(core.pack(value)) end
    end
    local ratio = time(both(large)) / time(both(small))
    print(("%-12s  10 x the nodes: %4.1f x the bytes, %5.1f x the time%s")
      :format(name, #core.pack(large) / #core.pack(small), ratio,
        ratio > 40 and "  NOT LINEAR" or ""))
  end
end

local pool <close> = tm.Pool { kind = "thread", workers = 1 }
there_and_summed(pool)
growth()
