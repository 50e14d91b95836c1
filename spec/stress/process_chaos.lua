-- Worker processes that die at any moment: each item must be exactly right,
-- or fail with kind "worker_died".
--
--   tidemill spec/stress/process_chaos.lua [SEED [SECONDS [WORKERS [SIGNAL]]]]
--
-- Workers die of themselves (a task sets an alarm, which goes off some
-- microseconds later, wherever the worker is by then), and by a hunter: a
-- thread that sends KILL, SIGNAL (segv unless given: a sanitizer takes crashes
-- for its own), TERM, or STOP and then KILL. Prints the
-- seed; ends with status 1 at the first wrong result.

local tm = require "tidemill"

local SEED <const> = math.tointeger(tonumber(arg[1])) or os.time()
local SECONDS <const> = tonumber(arg[2]) or 2
local WORKERS <const> = math.tointeger(tonumber(arg[3])) or 2

local CRASH <const> = arg[4] or "segv"

math.randomseed(SEED)
print("seed", SEED)

local function pick(list) return list[math.random(#list)] end

-- ---- who kills -----------------------------------------------------------

local ualarm = tm.cfunction(nil, "unsigned ualarm(unsigned, unsigned)")
local kill = tm.cfunction(nil, "int kill(int, int)")
local usleep = tm.cfunction(nil, "int usleep(unsigned)")

local function read(path)
  local file = io.open(path)
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text
end

local ME <const> = math.tointeger(read("/proc/self/stat"):match "^%d+")

local function workers_of(pid)
  local list = {}
  for child in read(("/proc/%d/task/%d/children"):format(pid, pid))
    :gmatch "%d+" do
    local name = read("/proc/" .. child .. "/comm")
    if name:find "^tm%-worker" then list[#list + 1] = tonumber(child) end
  end
  return list
end

local SIGNALS <const> = { kill = 9, segv = 11, term = 15, stop = 19 }

local function hunt(pid, seed, pause, over)
  math.randomseed(seed)
  local killed = 0
  while over:value() == 0 do
    usleep(math.random(pause))
    local list = workers_of(pid)
    local victim = #list > 0 and list[math.random(#list)]
    if victim then
      local names = { "kill", CRASH, "term", "stop" }
      local signal = SIGNALS[names[math.random(#names)]]
      if kill(victim, signal) == 0 then killed = killed + 1 end
      if signal == SIGNALS.stop then
        usleep(math.random(500))
        kill(victim, SIGNALS.kill)
      end
    end
  end
  return killed
end

-- ---- what workers do -----------------------------------------------------

-- rate: how often an item sets the alarm of its worker.
local function doomed(rate)
  if math.random() < rate then ualarm(math.random(2000), 0) end
end

local tasks = {
  number = function(i, rate)
    doomed(rate)
    return i * i
  end,
  table = function(i, rate)
    doomed(rate)
    return { i, tostring(i), { n = i } }
  end,
  array = function(i, rate)
    doomed(rate)
    local a = tm.array("f64", i % 50 + 1)
    a:fill(i)
    return a
  end,
  string = function(i, rate)
    doomed(rate)
    return (tostring(i)):rep(i % 300)
  end,
  failure = function(i, rate)
    doomed(rate)
    if i % 5 == 0 then error("no " .. i, 0) end
    return i
  end,
}

local right = {
  number = function(i, v) return v == i * i end,
  table = function(i, v)
    return type(v) == "table" and v[1] == i and v[2] == tostring(i)
      and v[3] and v[3].n == i
  end,
  array = function(i, v)
    return type(v) == "userdata" and #v == i % 50 + 1 and v[1] == i
      and v[#v] == i
  end,
  string = function(i, v) return v == (tostring(i)):rep(i % 300) end,
  failure = function(i, v)
    if i % 5 > 0 then return v == i end
    return type(v) == "table" and v.kind == "task" and v.message == "no " .. i
  end,
}

-- ---- what the script checks ----------------------------------------------

local items, died = 0, 0

local function check(round, i, v)
  items = items + 1
  if right[round.task](i, v) then return end
  if type(v) == "table" and v.kind == "worker_died" then
    died = died + 1
    return
  end
  error(("item %d of %s/%s is %s"):format(i, round.method, round.task,
    tostring(v)), 0)
end

local function tuples(n, rate)
  local list = {}
  for i = 1, n do list[i] = { i, rate } end
  return list
end

local methods = {}

function methods.starmap(pool, round)
  local results = pool:starmap(round.run, tuples(round.n, round.rate),
    round.options)
  assert(results.n == round.n)
  for i = 1, round.n do check(round, i, results[i]) end
end

function methods.starmap_async(pool, round)
  local asked = pool:starmap_async(round.run, tuples(round.n, round.rate),
    round.options)
  while not asked:ready() do tm.poll() end
  local results = asked:get()
  for i = 1, round.n do check(round, i, results[i]) end
end

function methods.map(pool, round)
  local run, rate = round.run, round.rate
  local results = pool:map(function(i) return run(i, rate) end,
    tm.range(1, round.n), round.options)
  assert(results.n == round.n)
  for i = 1, round.n do check(round, i, results[i]) end
end

function methods.imap(pool, round)
  local run, rate, last = round.run, round.rate, 0
  for i, v in pool:imap(function(i) return run(i, rate) end,
    tm.range(1, round.n), round.options) do
    assert(i == last + 1, "imap lost its order")
    last = i
    check(round, i, v)
  end
  assert(last == round.n, "imap lost items")
end

function methods.imap_unordered(pool, round)
  local run, rate, seen, n = round.run, round.rate, {}, 0
  for i, v in pool:imap_unordered(function(i) return run(i, rate) end,
    tm.range(1, round.n), round.options) do
    assert(not seen[i], "imap_unordered gave an item twice")
    seen[i], n = true, n + 1
    check(round, i, v)
  end
  assert(n == round.n, "imap_unordered lost items")
end

--- Leaves the loop in the middle.
function methods.imap_left(pool, round)
  local run, rate = round.run, round.rate
  for i, v in pool:imap(function(i) return run(i, rate) end,
    tm.range(1, round.n), round.options) do
    check(round, i, v)
    if i > round.n // 2 then break end
  end
end

function methods.apply_async(pool, round)
  local answers, n = {}, math.min(round.n, 500)
  for i = 1, n do
    local function answer(v)
      assert(answers[i] == nil, "a callback came twice")
      answers[i] = v
    end
    pool:apply_async(round.run, { i, round.rate }, {
      retries = round.options.retries, callback = answer,
      error_callback = answer })
  end
  local count
  repeat
    tm.poll()
    count = 0
    for i = 1, n do if answers[i] ~= nil then count = count + 1 end end
  until count == n
  for i = 1, n do check(round, i, answers[i]) end
end

--- The first error is raised; with enough tries there is none.
function methods.raise(pool, round)
  local run, rate = round.run, round.rate
  local tries = round.task ~= "failure" and math.random() < 0.5
  local ok, results = pcall(pool.map, pool,
    function(i) return run(i, rate) end, tm.range(1, round.n),
    { chunksize = round.options.chunksize, retries = tries and 1000 or 0 })
  if ok then
    for i = 1, round.n do assert(right[round.task](i, results[i])) end
    return
  end
  local e = results
  local expected = e.kind == "worker_died" and not tries
    or e.kind == "task" and e.item == 5 and round.task == "failure"
  assert(expected, tostring(e))
  for i = 1, e.item - 1 do assert(right[round.task](i, e.results[i])) end
end

local method_names, task_names = {}, {}
for name in pairs(methods) do method_names[#method_names + 1] = name end
for name in pairs(tasks) do task_names[#task_names + 1] = name end
table.sort(method_names)
table.sort(task_names)

local function new_round()
  local task = pick(task_names)
  return { method = pick(method_names), task = task, run = tasks[task],
    n = pick { 1, 2, 17, 300, 3000 }, rate = pick { 0, 0.001, 0.02, 0.2 },
    options = { errors = "collect", chunksize = pick { false, 1, 7 } or nil,
      retries = pick { 0, 1, 5 } } }
end

-- ---- the run -------------------------------------------------------------

--- Not by a pipe, of which the script may have two ends for a moment.
local function descriptors()
  local list = os.tmpname()
  os.execute(("ls /proc/%d/fd >%s"):format(ME, list))
  local _, n = read(list):gsub("\n", "")
  os.remove(list)
  return n
end

local over = tm.Counter(math.maxinteger, "{}")
local hunters = tm.Pool { kind = "thread", workers = 1 }
tm.Pool { kind = "process", workers = 1 }:terminate() -- what stays open, is
local before = descriptors()
local hunter = hunters:apply_async(hunt, { ME, SEED, 20000, over })
local finish, rounds = tm.clock() + SECONDS, 0

local ok, fault = xpcall(function()
  while tm.clock() < finish do
    local pool = tm.Pool { kind = "process", workers = WORKERS,
      max_tasks_per_child = pick { false, 100, 1000 } or nil }
    for _ = 1, math.random(8) do
      local round = new_round()
      if os.getenv "CHAOS_TRACE" then
        io.stderr:write(("%s %s n=%d rate=%g retries=%d chunk=%s\n"):format(
          round.method, round.task, round.n, round.rate,
          round.options.retries, tostring(round.options.chunksize)))
      end
      methods[round.method](pool, round)
      rounds = rounds + 1
    end
    pool[pick { "close", "terminate" }](pool)
    pool:join()
    assert(#workers_of(ME) == 0, "a worker is left")
  end
end, debug.traceback)

over:increment()
local killed = hunter:get()
hunters:close()
hunters:join()
if ok then
  collectgarbage()
  collectgarbage()
  local left = descriptors() - before
  if left > 0 then ok, fault = false, left .. " descriptors are left open" end
end
print(("%d rounds, %d items, %d died with their worker; %d hunted")
  :format(rounds, items, died, killed))
if not ok then
  print(fault)
  os.exit(1)
end
