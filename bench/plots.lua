--- `make bench-plots`: how cost grows, drawn as SVG.
---
---     tidemill bench/plots.lua FOLDER
---
--- Four questions, for each kind of pool, with multiprocessing beside it: how
--- time grows with the number of items, with what an item costs (and where a
--- pool begins to win against the plain loop), with workers, and with the
--- size of what is sent.

local measure = require "support.measure"
local plot = require "support.plot"
local shell = require "support.shell"
local stats = require "support.stats"
local tm = require "tidemill"

local folder = arg[1]
local PYTHON = os.getenv "BENCH_PYTHON" or "python3"

--- Where a pool begins to win: the value falls below 1, and is there at the
--- next point too. Between points it is straight in logarithms; nil when it
--- does not.
local function crossing(points)
  for i = 1, #points do
    local x, y = points[i][1], points[i][2]
    local before, after = points[i - 1], points[i + 1]
    if y < 1 and (not after or after[2] < 1) then
      if not before then return x end
      local part = math.log(before[2]) / (math.log(before[2]) - math.log(y))
      return before[1] * (x / before[1]) ^ part
    end
  end
end

local function seconds(value)
  if not value then return "never here" end
  for _, unit in ipairs { { 1e-6, 1e9, "ns" }, { 1e-3, 1e6, "µs" },
                          { 1, 1e3, "ms" }, { math.huge, 1, "s" } } do
    if value < unit[1] then
      return ("%.3g %s"):format(value * unit[2], unit[3])
    end
  end
end

--- The kinds of pool of this build, and a maker for each.
local function pools()
  local list = { { name = "FakePool", kind = "fake" },
                 { name = "threads", kind = "thread" } }
  if pcall(tm.Pool, { kind = "process", workers = 1 }) then
    list[3] = { name = "processes", kind = "process" }
  end
  return list
end

local function open(kind, workers)
  if kind == "fake" then return tm.FakePool() end
  return tm.Pool { kind = kind, workers = workers or measure.workers }
end

--- What multiprocessing takes: points of a question.
local function multiprocessing(question)
  local points = {}
  local lines = shell.lines(("%s bench/plots_multiprocessing.py %s")
    :format(PYTHON, question))
  for _, line in ipairs(lines) do
    local x, y = line:match "^(%S+)\t(%S+)$"
    if x then points[#points + 1] = { tonumber(x), tonumber(y) } end
  end
  return { name = "multiprocessing", points = points, style = 5 }
end

--- The medians of a few runs of each function, one after the other, and of
--- more of them when they are short.
local function timed(...)
  local lists, start = {}, tm.clock()
  local limit = measure.size(0.3, 0.1)
  for i, f in ipairs { ... } do
    lists[i] = {}
    f()
  end
  repeat
    for i, f in ipairs { ... } do
      local began = tm.clock()
      f()
      table.insert(lists[i], tm.clock() - began)
    end
    local count = #lists[1]
  until count >= 101 or count >= 5 and tm.clock() > start + limit
  for i, list in ipairs(lists) do lists[i] = stats.median(list) end
  return table.unpack(lists)
end

--- What a map is beside.
local function plain_loop(f, list)
  local out = {}
  for i = 1, #list do out[i] = f(list[i]) end
  return out
end

local function add_one(x) return x + 1 end

local function burn(steps)
  local x = 1.0
  for _ = 1, steps do x = x * 0.999 + 0.001 end
  return x
end

-- ---- items ---------------------------------------------------------------

local function series_of(name, xs, f, style)
  local points = {}
  for i, x in ipairs(xs) do points[i] = { x, f(x) } end
  return { name = name, points = points, style = style }
end

-- The numbers 1 to n.
local function numbers(n)
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end

local function items()
  local counts = { 1, 10, 100, 1000, 10000, 100000, 1000000 }
  local list = { series_of("plain loop", counts, function(n)
    local given = numbers(n)
    return timed(function() plain_loop(add_one, given) end)
  end) }
  for i, each in ipairs(pools()) do
    local pool <close> = open(each.kind)
    list[#list + 1] = series_of(each.name, counts, function(n)
      local given = numbers(n)
      return timed(function() pool:map(add_one, given) end)
    end, i + 1)
  end
  list[#list + 1] = multiprocessing "items"
  plot.write(folder .. "/items.svg", {
    title = "Time of a map of a trivial function", xlabel = "items",
    ylabel = "time", yunit = plot.SECONDS, series = list })
end

-- ---- the cost of an item ---------------------------------------------------

local STEPS = { 0, 10, 30, 100, 300, 1000, 3000, 10000, 100000, 1000000 }

--- Times of a map over that of the plain loop; x is what an item costs in it.
--- count(seconds) is how many items a map has.
local function relative(each, plain, count)
  local pool <close> = open(each.kind)
  local points = {}
  for i, steps in ipairs(STEPS) do
    local cost = plain[i]
    local list = {}
    for k = 1, count(cost) do list[k] = steps end
    local loop, map = timed(function() plain_loop(burn, list) end,
      function() pool:map(burn, list) end)
    points[i] = { cost, map / loop }
  end
  return points
end

local function cost_plot(file, title, count, argument)
  local plain, list = {}, {}
  for i, steps in ipairs(STEPS) do
    local n = math.max(1, 10000 // (steps + 1))
    local same = {}
    for k = 1, n do same[k] = steps end
    plain[i] = timed(function() plain_loop(burn, same) end) / n
  end
  for i, each in ipairs(pools()) do
    list[i] = { name = each.name, points = relative(each, plain, count),
                style = i + 1 }
  end
  list[#list + 1] = multiprocessing(argument)
  print(title)
  for i = 2, #list do -- a FakePool does not win
    local series = list[i]
    print(("  %-16s wins against its plain loop from %s an item"):format(
      series.name, seconds(crossing(series.points))))
  end
  plot.write(folder .. "/" .. file, {
    title = title, xlabel = "what an item costs in the plain loop",
    ylabel = "time over the plain loop's", xunit = plot.SECONDS, level = 1,
    level_text = "plain loop", series = list })
end

local function costs()
  cost_plot("cost.svg", "A map of 100 items", function() return 100 end,
    "cost")
  cost_plot("cost_long.svg", "A map that takes 50 ms in a plain loop",
    function(cost) return math.max(2, 0.05 // cost | 0) end, "cost_long")
end

-- ---- workers ---------------------------------------------------------------

local WORKERS = { 1, 2, 3, 4, 6, 8, 12, 16 }

local LOADS = {
  { name = "coarse", items = 400, steps = 20000 },
  { name = "fine", items = 20000, steps = 0 },
}

-- Seconds an item of a map with so many workers.
local function under(kind, count, load)
  local pool <close> = open(kind, count)
  local list = {}
  for i = 1, load.items do list[i] = load.steps end
  return timed(function() pool:map(burn, list) end) / load.items
end

local function workers()
  local list = {}
  for i, each in ipairs(pools()) do
    if each.kind ~= "fake" then
      for k, load in ipairs(LOADS) do
        list[#list + 1] = series_of(each.name .. ", " .. load.name, WORKERS,
          function(count) return under(each.kind, count, load) end,
          2 * i + k - 4)
      end
    end
  end
  for _, load in ipairs { "coarse", "fine" } do
    local theirs = multiprocessing("workers_" .. load)
    theirs.name = "multipr., " .. load
    theirs.style = load == "fine" and 6 or 5
    list[#list + 1] = theirs
  end
  plot.write(folder .. "/workers.svg", {
    title = ("Time an item against workers, on %d CPUs"):format(
      tm.cpus().usable),
    xlabel = "workers", xbase = 2, ylabel = "time / items",
    yunit = plot.SECONDS, series = list })
end

-- ---- payload ---------------------------------------------------------------

local function sizes()
  local list = {}
  for power = 3, measure.size(28, 24), 5 do list[#list + 1] = 1 << power end
  return list
end

local function length(payload) return #payload end

local function first(array) return array[1] end

local function payload()
  local list = {}
  for i, each in ipairs(pools()) do
    local pool <close> = open(each.kind, 1)
    list[#list + 1] = series_of(each.name .. ", string", sizes(), function(n)
      local text = ("x"):rep(n)
      return timed(function() pool:apply(length, { text }) end)
    end, i + 1)
    if each.kind == "thread" then
      list[#list + 1] = series_of(each.name .. ", array", sizes(), function(n)
        local array = tm.array("u8", n)
        return timed(function() pool:apply(first, { array }) end)
      end, 6)
    end
    collectgarbage()
  end
  list[#list + 1] = multiprocessing "payload"
  plot.write(folder .. "/payload.svg", {
    title = "Time of one call with a payload",
    xlabel = "size of the payload", ylabel = "time", xunit = plot.BYTES,
    yunit = plot.SECONDS, series = list })
end

assert(os.execute("mkdir -p " .. shell.quote(folder)))
io.stdout:setvbuf "line"
items()
costs()
workers()
payload()
print("plots in " .. folder)
