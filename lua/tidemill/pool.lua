--- pool.lua: pools, their methods, and where parallelism is on
---
--- The pools themselves are C (core.new_pool ...); here is what arguments
--- may be and what methods answer.

local core = require "tidemill.core"
local imap = require "tidemill.imap"
local items = require "tidemill.items"
local nearest = require "tidemill.nearest"
local options = require "tidemill.options"
local result = require "tidemill.result"
local settings = require "tidemill.settings"

local pool = {}

---@class tidemill.pool
local methods = {}

-- ---- submitting ----------------------------------------------------------

--- pool.map(f, list) instead of pool:map(f, list) is easily written.
local function check_self(self, method, level)
  if type(self) == "userdata" and
     debug.getmetatable(self) == core.pool_meta then
    return
  end
  error(("bad self for '%s' (a pool expected, got %s): call it as pool:%s(...)")
    :format(method, type(self), method), level + 1)
end

local function check_function(self, f, method)
  check_self(self, method, 4)
  if options.callable(f) then return end
  error(("bad argument #1 to '%s' (function or task expected, got %s)")
    :format(method, type(f)), 4)
end

--- Options of the call over those of the task, and the job's spec.
local function prepare(f, given)
  local name, declared = core.task_info(f)
  local o = options.read(given, declared, 4)
  local kwds = o.kwds
  if kwds and next(kwds) == nil then kwds = nil end
  return o, {
    chunksize = o.chunksize,
    timeout = o.timeout,
    retries = o.retries,
    seed = o.seed,
    collect = o.errors == "collect",
    name = o.name or name,
    kwds = kwds,
    notify = (o.callback or o.error_callback) ~= nil,
  }
end

local function progress_line(o, spec, total)
  local wanted = o.progress
  if wanted == nil then wanted = settings.get "progress" end
  if not wanted then return nil end
  return require("tidemill.progress").new {
    total = total, name = spec.name, stream = io.stderr,
    tty = core.isatty(2), clock = core.clock
  }
end

--- Where results go, before anything runs.
local function check_out(out, o, n, method)
  if not out then return end
  local why
  if not n then
    why = ("'%s' has none"):format(method)
  elseif o.errors == "collect" then
    why = "with errors = \"collect\" there is no place for errors in it"
  elseif out.readonly then
    why = "the array is read-only"
  elseif out.dtype == "c128" then
    why = "a result is one number, a c128 element two"
  elseif out.size ~= n then
    why = ("it needs an element for each of the %d items (got %d)")
      :format(n, out.size)
  end
  if why then error("option 'out': " .. why, 4) end
end

local function check_tuples(kind, method)
  if kind ~= "array" then return end
  error(("%s takes a table of arguments as each item, not an array; use map")
    :format(method), 4)
end

local function submit(self, f, list, n, spec, method)
  if core.pool_state(self) ~= "open" and not core.in_worker() then
    error(("%s: the pool is closed"):format(method), 4)
  end
  return core.submit(self, f, list, n, spec)
end

local function start_map(self, method, spread, f, given, opts, ...)
  check_function(self, f, method)
  local kind, n = items.kind(given, select("#", ...), method, 3)
  local o, spec = prepare(f, opts)
  local list = given
  if kind == "iterator" then
    list = items.collect(given)
    n = list.n
  elseif kind == "range" then
    list, spec.first, spec.step = nil, given.first, given.step
  end
  check_out(o.out, o, n, method)
  if spread then check_tuples(kind, method) end
  spec.spread, spec.out = spread, o.out
  local progress = progress_line(o, spec, n)
  -- so that a FakePool's line moves; async jobs must end without a wait
  spec.lazy = progress ~= nil and not method:find "_async"
  local job = submit(self, f, list, n, spec, method)
  return result.new(job, o, false, progress)
end

local function start_apply(self, method, f, args, opts)
  check_function(self, f, method)
  if args == nil then args = {} end
  if type(args) ~= "table" then
    error(("bad argument #2 to '%s' (table of arguments expected, got %s)")
      :format(method, type(args)), 3)
  end
  items.length(args, method, 3)
  local o, spec = prepare(f, opts)
  check_out(o.out, o, nil, method)
  spec.spread, spec.all = true, true
  local job = submit(self, f, { args }, 1, spec, method)
  return result.new(job, o, true)
end

local function start_imap(self, method, any, f, given, opts, ...)
  check_function(self, f, method)
  local kind, n = items.kind(given, select("#", ...), method, 3)
  local o, spec = prepare(f, opts)
  if spec.notify then
    error(("%s has no callbacks: its results come to the loop")
      :format(method), 3)
  end
  check_out(o.out, o, nil, method)
  -- an element of two numbers is two arguments
  spec.spread = kind == "array" and given.dtype == "c128" and given.rank == 1
  spec.chunksize = spec.chunksize or 1
  spec.window = imap.window(#self, spec.chunksize, core.is_fake(self))
  local job = submit(self, f, nil, 0, spec, method)
  return imap.iterate(self, job, given, kind, n, any, spec.collect,
    progress_line(o, spec, n))
end

-- ---- methods -------------------------------------------------------------

--- What apply without options asks for.
local PLAIN <const> = { spread = true, all = true }

--- The values of a call that went well; else the long way tells what is wrong.
local function finish(job, ok, ...)
  result.run_callbacks()
  if ok then return ... end
  return result.new(job, {}, true):get()
end

--- Calls f(table.unpack(args)) in a worker and returns all that it returns.
---@param f function|tidemill.task
---@param args? table arguments, up to its n
---@param opts? table|integer
---@return any ...
function methods:apply(f, args, opts)
  if opts == nil and type(f) == "function" and type(args) == "table" and
     args.n == nil and core.takes_jobs(self) then
    local job = core.submit(self, f, { args }, 1, PLAIN)
    core.wait(job, result.SLICE)
    return finish(job, core.values(job))
  end
  return (start_apply(self, "apply", f, args, opts)):get()
end

--- The same without waiting.
---@return tidemill.result
function methods:apply_async(f, args, opts)
  return (start_apply(self, "apply_async", f, args, opts))
end

--- Calls f with each item; returns the first results, in item order, and n.
---@param f function|tidemill.task
---@param list table|tidemill.range|function
---@param opts? table|integer
---@return table results
function methods:map(f, list, opts, ...)
  return (start_map(self, "map", false, f, list, opts, ...)):get()
end

--- The same without waiting.
---@return tidemill.result
function methods:map_async(f, list, opts, ...)
  return (start_map(self, "map_async", false, f, list, opts, ...))
end

--- As map, with items that are tables of arguments, up to their n.
---@return table results
function methods:starmap(f, list, opts, ...)
  return (start_map(self, "starmap", true, f, list, opts, ...)):get()
end

--- The same without waiting.
---@return tidemill.result
function methods:starmap_async(f, list, opts, ...)
  return (start_map(self, "starmap_async", true, f, list, opts, ...))
end

--- For a generic for: item numbers and results, in item order, as they come.
function methods:imap(f, list, opts, ...)
  local next_result, state, first, stream =
    start_imap(self, "imap", false, f, list, opts, ...)
  return next_result, state, first, stream -- a tail call has no level
end

--- The same in the order in which they are done.
function methods:imap_unordered(f, list, opts, ...)
  local next_result, state, first, stream =
    start_imap(self, "imap_unordered", true, f, list, opts, ...)
  return next_result, state, first, stream
end

--- Runs a kernel on the pool's workers and the caller (processes: the workers
--- alone), and returns what it reduces to. Items are counted from 0, as the kernel counts them.
---
--- fun(self, kernel: tidemill.kernel, items: integer|table, ...: any): any
methods.run = core.run

--- The options of run_async that a run has not: callbacks.
local function take_callbacks(given)
  local o = {}
  if type(given) ~= "table" then return given, o end
  local rest = {}
  for name, value in pairs(given) do
    if name == "callback" or name == "error_callback" then
      o[name] = options.check(name, value, "callable", 3)
    else
      rest[name] = value
    end
  end
  return rest, o
end

--- The same without waiting, and without the caller's help.
---@param kernel tidemill.kernel
---@param given integer|table
---@param ... any
---@return tidemill.result
function methods:run_async(kernel, given, ...)
  local list, o = take_callbacks(given)
  local n = select("#", ...)
  local args = table.pack(...)
  args[n + 1] = o.callback ~= nil or o.error_callback ~= nil
  local ok, job = pcall(core.run_batch, self, kernel, list,
    table.unpack(args, 1, n + 1))
  if not ok then error(job, 2) end
  if core.is_fake(self) then core.wait(job, 0) end
  return result.new(job, o, true)
end

--- Takes no more jobs; workers end when those that it has are done.
function methods:close()
  check_self(self, "close", 2)
  core.close(self)
end

--- Stops all jobs and ends the workers.
function methods:terminate()
  check_self(self, "terminate", 2)
  core.terminate(self)
end

--- Waits for the workers of a closed or terminated pool to end; the
--- callbacks of its jobs have run then.
function methods:join()
  check_self(self, "join", 2)
  if core.pool_state(self) == "open" then
    error("join: the pool is still open; close or terminate it first", 2)
  end
  if core.pool_state(self) == "closed" and imap.feeds(self) then
    error("join: a loop over imap of this pool has not ended", 2)
  end
  core.join(self)
  result.poll()
end

local function close_pool(self, err)
  if err ~= nil then self:terminate() else self:close() end
  self:join()
end

core.pool_meta.__index = methods
core.pool_meta.__close = close_pool
core.pool_meta.__name = "tidemill.pool"

-- ---- making pools --------------------------------------------------------

--- Checks a word of a list.
local function choice(name, list)
  local quoted = {}
  for i, word in ipairs(list) do quoted[i] = ("%q"):format(word) end
  return function(x, level)
    for _, word in ipairs(list) do
      if x == word then return x end
    end
    local near = nearest.find(x, list)
    local shown = type(x) == "string" and ("%q"):format(x) or tostring(x)
    if near then shown = ("%s; did you mean %q?"):format(shown, near) end
    error(("option '%s' must be %s (got %s)"):format(name,
      nearest.any_of(quoted), shown), level + 1)
  end
end

--- Options of Pool: what they may be, and how they are checked.
local pool_options = {
  kind = choice("kind", { "thread", "process", "fake" }),
  start_method = choice("start_method", { "auto", "fork", "spawn" }),
  pin = function(x, level)
    if x == "auto" or type(x) == "boolean" then return x end
    error(("option 'pin' must be true, false or \"auto\" (got %s)")
      :format(tostring(x)), level + 1)
  end,
}

for name, kind in pairs {
  workers = "whole", initializer = "callable", initargs = "table",
  max_tasks_per_child = "whole", max_memory_per_child = "whole"
} do
  pool_options[name] = function(x, level)
    return (options.check(name, x, kind, level + 1)) -- a tail call has no level
  end
end

local pool_option_names = {}
for name in pairs(pool_options) do
  pool_option_names[#pool_option_names + 1] = name
end
table.sort(pool_option_names)

--- More workers than this are a mistake, not a wish.
local MOST_WORKERS <const> = 4095

--- Defaults that the config may set for every pool.
local function with_settings(o)
  settings.fix()
  for _, name in ipairs {
    "max_tasks_per_child", "max_memory_per_child", "start_method"
  } do
    if o[name] == nil then o[name] = settings.get(name) or nil end
  end
  if o.pin == nil then o.pin = settings.get "pin" end
  return o
end

--- Makes a pool of the caller's own.
---@param given table
---@return tidemill.pool
function pool.Pool(given)
  if type(given) ~= "table" then
    error(("bad argument #1 to 'Pool' (table expected, got %s)")
      :format(type(given)), 2)
  end
  local o = {}
  for name, value in pairs(given) do
    local check = pool_options[name]
    if not check then options.unknown(name, pool_option_names, 2) end
    o[name] = check(value, 2)
  end
  o.kind = o.kind or "thread"
  if o.workers and o.workers > MOST_WORKERS then
    error(("option 'workers' must be at most %d (got %d)")
      :format(MOST_WORKERS, o.workers), 2)
  end
  if o.kind == "fake" and o.initializer then
    local args = o.initargs or {}
    o.initializer(table.unpack(args, 1, args.n or #args))
    o.initializer = nil
  end
  return core.new_pool(with_settings(o))
end

-- ---- where parallelism is on ---------------------------------------------

--- How many no_parallel blocks the script is in.
local depth = 0

--- The pool that runs in the caller, for as long as nobody closes it.
local shared_fake

--- A pool that runs in the caller, one item after the other.
---@return tidemill.pool
function pool.FakePool()
  return core.new_pool { kind = "fake" }
end

local function fake()
  if not shared_fake or core.pool_state(shared_fake) ~= "open" then
    shared_fake = pool.FakePool()
  end
  return shared_fake
end

--- Whether parallelism is on here.
---@return boolean
function pool.parallel_enabled()
  return depth == 0 and settings.get "parallel" ~= false
end

--- The runtime's shared pool of worker threads; where parallelism is off, a
--- FakePool.
---@return tidemill.pool
function pool.thread_pool()
  if not pool.parallel_enabled() then return fake() end
  return core.shared_pool(with_settings {})
end

--- Whether process_pool(new) asks for fresh workers.
local function is_new(new, level)
  if type(new) ~= "table" then
    if new == nil or type(new) == "boolean" then return new end
    error(("bad argument #1 to 'process_pool' (boolean expected, got %s)")
      :format(type(new)), level + 1)
  end
  for name, value in pairs(new) do
    if name ~= "new" then options.unknown(name, { "new" }, level + 1) end
    if type(value) ~= "boolean" then
      error(("option 'new' must be true or false (got %s)")
        :format(tostring(value)), level + 1)
    end
  end
  return new.new
end

--- Ends the shared pool of processes, once its jobs are done.
local function renew()
  local before = core.shared_process_pool()
  if not before then return end
  before:close()
  before:join()
end

--- The runtime's shared pool of worker processes; where parallelism is off,
--- a FakePool.
---@param new? boolean|{new: boolean}
---@return tidemill.pool
function pool.process_pool(new)
  if not pool.parallel_enabled() or core.in_process() then return fake() end
  if is_new(new, 2) then renew() end
  return core.shared_pool(with_settings { kind = "process" })
end

local Guard = {}

--- Leaves the block, once.
local function leave(guard)
  if guard.left then return end
  guard.left = true
  depth = depth - 1
end

Guard.__close, Guard.__gc = leave, leave

--- Turns parallelism off: in a block, while the guard lives
--- (`local _ <close> = tm.no_parallel()`), or while f(...) runs, whose
--- results it returns. Blocks nest.
---@param f? function
---@return any ...
function pool.no_parallel(f, ...)
  if f ~= nil and not options.callable(f) then
    error(("bad argument #1 to 'no_parallel' (function expected, got %s)")
      :format(type(f)), 2)
  end
  depth = depth + 1
  local guard = setmetatable({}, Guard)
  if f == nil then return guard end
  local _ <close> = guard
  return f(...)
end

return pool
