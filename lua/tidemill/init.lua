--- init.lua: the module `tidemill`

local core = require "tidemill.core"
local npy = require "tidemill.npy"
local kernel = require "tidemill.kernel"
local options = require "tidemill.options"
local pool = require "tidemill.pool"
local range = require "tidemill.range"
local result = require "tidemill.result"
local settings = require "tidemill.settings"

---@class tidemill
local tm = {
  Pool = pool.Pool,
  thread_pool = pool.thread_pool,
  process_pool = pool.process_pool,
  FakePool = pool.FakePool,
  no_parallel = pool.no_parallel,
  parallel_enabled = pool.parallel_enabled,
  poll = result.poll,
  fileno = core.fileno,
  load_kernels = kernel.load,
  compile = kernel.compile,
  kernel = kernel.find,
  cfunction = kernel.cfunction,
  range = range.new,
  load = npy.load,
  array = setmetatable({ load = npy.load }, { __call = core.array }),
  glob_store = core.glob_store,
  glob_read = core.glob_read,
  glob_update = core.glob_update,
  glob_remove = core.glob_remove,
  clock = core.clock,
  cpus = core.cpus,
  config = settings.view,
  configure = settings.configure,
  version = core.version,
}

--- Raises e as it is: for error_callback.
---@param e any
function tm.raiser(e) error(e, 0) end

-- ---- tasks ---------------------------------------------------------------

local TASK_OPTIONS = { chunksize = "whole", timeout = "seconds",
                       retries = "count", seed = "integer" }
local TASK_FIELDS = { "name", "run", "setup", "chunksize", "timeout",
                      "retries", "seed" }

local function task_fields(given, f)
  if type(given) == "table" and f == nil then return given end
  return { name = given, run = f }
end

--- Declares a task: tm.task(name, f) or tm.task{name=, run=, setup=, ...}.
---@param given string|table
---@param f? function
---@return tidemill.task
function tm.task(given, f)
  local fields = task_fields(given, f)
  local declared = {}
  for name, value in pairs(fields) do
    if TASK_OPTIONS[name] then
      declared[name] = options.check(name, value, TASK_OPTIONS[name], 2)
    elseif name ~= "name" and name ~= "run" and name ~= "setup" then
      options.unknown(name, TASK_FIELDS, 2)
    end
  end
  if type(fields.name) ~= "string" or fields.name == "" then
    error("task: a name is needed (a string)", 2)
  end
  for _, name in ipairs { "run", "setup" } do
    if type(fields[name]) ~= "function" and
       (name == "run" or fields[name] ~= nil) then
      error(("task '%s': '%s' must be a function (got %s)"):format(
        fields.name, name, type(fields[name])), 2)
    end
  end
  return core.new_task(fields.name, fields.run, fields.setup, declared)
end

-- ---- counters ------------------------------------------------------------

local EVERY <const>, MESSAGE <const> = 10, "Count: {}"

local COUNTER_FIELDS = { "print_every", "print_message" }

local function counter_fields(every, message)
  if type(every) ~= "table" then return every, message end
  for name in pairs(every) do
    if name ~= 1 and name ~= 2 and name ~= "print_every" and
       name ~= "print_message" then
      options.unknown(name, COUNTER_FIELDS, 3)
    end
  end
  return every.print_every or every[1], every.print_message or every[2]
end

--- Whether a message says how many: its text is another for another count.
local function shows_number(message)
  if message:find("{}", 1, true) then return true end
  local ok, one = pcall(string.format, message, 1)
  return ok and one ~= message:format(2)
end

--- A count that all workers share. Each time a multiple of print_every is
--- met or passed, one message is logged.
---@param print_every? integer|table 10 unless given; or a table of the two
---@param print_message? string "Count: {}" unless given; {} or a
---  string.format pattern takes the count
---@return tidemill.counter
function tm.Counter(print_every, print_message)
  local every, message = counter_fields(print_every, print_message)
  if every == nil then every = EVERY end
  if message == nil then message = MESSAGE end
  every = options.check("print_every", every, "whole", 2)
  message = options.check("print_message", message, "string", 2)
  if not shows_number(message) then
    error(("option 'print_message' must have a place for the number, {} or "
      .. "a format such as %%d (got %q)"):format(message), 2)
  end
  return core.new_counter(every, message)
end

-- ---- the log -------------------------------------------------------------

local LEVELS = { "error", "warning", "info", "debug", "TODO" }

local function check_level(level, name)
  for _, known in ipairs(LEVELS) do
    if level == known then return level end
  end
  error(("%s: %s"):format(name,
    require("tidemill.nearest").unknown("level", level, LEVELS)), 3)
end

--- Writes a line (or lines) to the log.
---@param msg any
---@param level? "error"|"warning"|"info"|"debug"|"TODO" "info" unless given
function tm.log(msg, level)
  core.log(msg, level and check_level(level, "log"))
end

local Indent = {
  __close = function(self)
    if not self.left then core.log_indent(-1) end
    self.left = true
  end
}

--- Logs a line, and indents what follows while the guard lives:
--- `local _ <close> = tm.sublog("reading")`.
---@param msg? any
---@param level? string
---@return table guard
function tm.sublog(msg, level)
  if msg ~= nil then core.log(msg, level and check_level(level, "sublog")) end
  core.log_indent(1)
  return setmetatable({}, Indent)
end

--- Lines above this level are not written any more.
---@param level "error"|"warning"|"info"|"debug"|"TODO"
---@return string before
function tm.set_level(level)
  return core.log_level(check_level(level, "set_level"))
end

--- From now on the log goes to the end of this file; nil: to stderr again.
---@param path? string
function tm.start_log_file(path)
  if path ~= nil and type(path) ~= "string" then
    error(("bad argument #1 to 'start_log_file' (string expected, got %s)")
      :format(type(path)), 2)
  end
  local ok, err = pcall(core.log_open, path)
  if not ok then error(err, 2) end
end

-- ---- stored attributes ---------------------------------------------------

--- For classes: attributes that live in the global store.
---@param ... string names
---@return fun(class: table): table
tm.glob_store_attributes = require "tidemill.class" {
  add = core.store_counted,
  read = core.glob_read,
  update = core.glob_update,
  remove = core.glob_remove,
}

settings.get "parallel" -- the config is read, and its faults told, here

return tm
