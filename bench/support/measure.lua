--- What a benchmark in Lua is written with, ours or a peer's. It prints lines
--- "measure<tab>who<tab>value", values in seconds or plain numbers, which
--- bench/run.lua reads.

local stats = require "support.stats"

local measure = {
  --- Whether `make bench QUICK=1` runs: fewer and smaller.
  quick = os.getenv "BENCH_QUICK" == "1",
  --- How many workers everyone gets.
  workers = math.tointeger(tonumber(os.getenv "BENCH_WORKERS" or 2)) or 2,
}

--- Whichever clock of nanoseconds there is: ours, or luv's for a peer in
--- plain Lua.
local function find_clock()
  local ok, tm = pcall(require, "tidemill")
  if ok then return tm.clock end
  local uv = require "luv"
  return function() return uv.hrtime() / 1e9 end
end

--- Seconds of a clock that never goes back.
---@type fun(): number
measure.clock = find_clock()

--- Reports a figure; nil says that what it measures is not there.
---@param name string of the measure, as in bench/catalogue.lua
---@param value number|nil
---@param who? string "tidemill", or the name of the program, unless given
function measure.say(name, value, who)
  print(("%s\t%s\t%s"):format(name, who or "", value or "-"))
  io.stdout:flush()
end

--- The larger number, or in a quick run the smaller one.
---@generic T
---@param full T
---@param quick T
---@return T
function measure.size(full, quick)
  return measure.quick and quick or full
end

--- Seconds for each of n: f(n) once to warm up, then the median of a few.
---@param n integer what f is called with, and the time is divided by
---@param f fun(n: integer)
---@param runs? integer 5 unless given, 3 in a quick run
---@return number seconds
function measure.each(n, f, runs)
  local list = {}
  f(n)
  for i = 1, runs or measure.size(5, 3) do
    collectgarbage()
    local began = measure.clock()
    f(n)
    list[i] = (measure.clock() - began) / n
  end
  return (stats.median(list))
end

--- The same for what takes microseconds: the median of many short runs, of
--- which a few may be disturbed. Garbage is not collected between them.
---@param n integer
---@param f fun(n: integer)
---@return number seconds
function measure.short(n, f)
  local list, start = {}, measure.clock()
  f(n)
  while #list < 201 and (#list < 7 or measure.clock() < start + 0.5) do
    local began = measure.clock()
    f(n)
    list[#list + 1] = (measure.clock() - began) / n
  end
  return (stats.median(list))
end

--- The kinds of pool that this build has: "threads" and, once there is
--- one, "processes". Calls f(kind, make) for each, where make(options) makes
--- a pool; reports the measures as missing where there is none.
---@param names string[] measures that f reports
---@param f fun(kind: string, make: fun(options?: table): tidemill.pool)
function measure.pools(names, f)
  local tm = require "tidemill"
  for _, kind in ipairs { "thread", "process" } do
    local function make(options)
      local o = { kind = kind, workers = measure.workers }
      for name, value in pairs(options or {}) do o[name] = value end
      return tm.Pool(o)
    end
    local who = kind == "thread" and "threads" or "processes"
    local ok, pool = pcall(make)
    if ok then
      pool:close()
      f(who, make)
    else
      for _, name in ipairs(names) do measure.say(name, nil, who) end
    end
  end
end

return measure
