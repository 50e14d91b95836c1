--- settings.lua: the config in force in a runtime
---
--- A script's state reads the config once, when tidemill is first required
--- (or when the command starts), and puts it in force; the states of workers
--- get it from the runtime.

local core = require "tidemill.core"

local settings = {}

--- Settings by name, and where each came from.
---@type table, table<string, string>
local values, origins

--- Why settings that pools depend on are fixed: nil until there is a pool.
local fixed = false

--- Settings that may change while there are pools.
local ANY_TIME = { log_level = true, log_file = true, progress = true,
                   parallel = true }

--- What each setting does when it comes in force.
local effects = {}

function effects.threads(n)
  core.set_threads(n == "auto" and core.cpus().usable or n)
end

function effects.processes(n)
  core.set_processes(n == "auto" and core.cpus().usable or n)
end

function effects.pin(policy) core.set_pin(policy) end
function effects.log_level(level) core.log_level(level) end
function effects.log_file(path) core.log_open(path) end

function effects.worker_command(path) core.set_worker_command(path) end

function effects.arena_size(size)
  if size ~= "auto" then core.set_arena(size) end
end

--- Puts settings in force: those that differ from what is.
local function enforce(new, old)
  for name, effect in pairs(effects) do
    if new[name] ~= old[name] then effect(new[name]) end
  end
  values = new
  core.set_settings(new)
end

--- Thread variables that we have set: not the user's, who comes first.
local ours = {}

local function users(name)
  if ours[name] then return nil end
  return os.getenv(name)
end

local function set_thread_variables(config)
  if core.embedded then return end -- a host's environment is the host's
  for name, value in pairs(config.thread_variables(values, users)) do
    core.setenv(name, value)
    ours[name] = true
  end
end

--- The settings of a host that reads no config: its own, and defaults.
---@param keys tidemill.setting[]
---@return table values, table origins
local function of_host(keys)
  local found, from = {}, {}
  for _, setting in ipairs(keys) do
    found[setting.name] = setting.default
    from[setting.name] = "default"
  end
  for name, value in pairs(core.host_settings()) do
    if name ~= "arena_size" then
      if value ~= found[name] then from[name] = "host" end
      found[name] = value
    end
  end
  return found, from
end

--- Reads the config that goes with a script and puts it in force. Does
--- nothing when that was done before.
---@param script? string path of the running script
---@param options? {env?: boolean} env = false: ignore the environment
function settings.start(script, options)
  if values then return end
  local config = require "tidemill.config"
  local found, from, notes
  local before = { pin = "auto", log_level = "info", arena_size = "auto" }
  if core.embedded then
    found, from = of_host(config.keys)
    before, notes = found, {}
  else
    found, from, notes = config.load {
      script = script, env = options and options.env
    }
  end
  origins = from
  enforce(found, before)
  set_thread_variables(config)
  for _, note in ipairs(notes) do core.log(note, "info") end
end

--- The running script, when there is one: without, arg[0] is the
--- interpreter.
local function script_path()
  local arg = rawget(_G, "arg")
  if type(arg) ~= "table" or arg[-1] == nil then return nil end
  return arg[0]
end

local function started()
  if values then return end
  if core.in_worker() then
    values = core.settings() or {}
    origins = {}
  else
    settings.start(script_path())
  end
end

--- The value of a setting, nil when it has none.
---@param name string
---@return any
function settings.get(name)
  started()
  return values[name]
end

--- Pools read their settings when they are made: from now on they stay.
function settings.fix()
  fixed = true
end

local function check_free(overrides)
  if core.in_worker() then
    error("configure: settings are the script's to change, not a worker's", 3)
  end
  if not fixed then return end
  for name in pairs(overrides) do
    if not ANY_TIME[name] then
      error(("configure: %s cannot change any more: there are pools")
        :format(tostring(name)), 3)
    end
  end
end

--- Overrides settings: tm.configure.
---@param overrides table
function settings.configure(overrides)
  if type(overrides) ~= "table" then
    error("bad argument #1 to 'configure' (table expected, got "
      .. type(overrides) .. ")", 2)
  end
  started()
  local config = require "tidemill.config"
  local copy, from = {}, {}
  for name, value in pairs(values) do copy[name] = value end
  for name, origin in pairs(origins) do from[name] = origin end
  local ok, err = pcall(config.apply, copy, overrides, "configure", from)
  if not ok then error(err, 2) end
  check_free(overrides)
  enforce(copy, values)
  origins = from
  if overrides.cext_threads then set_thread_variables(config) end
end

--- What scripts see as tm.config: settings by name, read-only.
settings.view = setmetatable({}, {
  __index = function(_, name)
    started()
    return values[name]
  end,
  __newindex = function()
    error("tm.config is read-only; use tm.configure{...}", 2)
  end,
  __pairs = function()
    started()
    return next, values, nil
  end,
  __name = "tidemill.config",
})

return settings
