--- config.lua: the settings: what they may be, and where they come from
---
--- A setting is taken from the first of these that gives it: tm.configure,
--- the environment (TIDEMILL_THREADS ...), a config file, its default. A
--- config file is Lua text that returns a table; it is run in an empty
--- environment, so that it can compute but not act.

local nearest = require "tidemill.nearest"

---@class tidemill.setting
---@field name string
---@field default any
---@field words? string[] strings that are allowed
---@field boolean? boolean true and false are allowed
---@field whole? string whole numbers from 1 are allowed; what they count
---@field bytes? boolean sizes such as "512M" are allowed
---@field text? string any string but "" is allowed; what it is
---@field optional? string it may be nil, for which false is written; why
---@field allowed string all of that in words, for messages
---@field env string the environment variable that overrides it

---@type tidemill.setting[]
local keys = {
  { name = "threads", default = "auto",
    words = { "auto" }, whole = "a whole number from 1" },
  { name = "processes", default = "auto",
    words = { "auto" }, whole = "a whole number from 1" },
  { name = "cext_threads", default = 1,
    whole = "a whole number from 1" },
  { name = "parallel", default = true, boolean = true },
  { name = "start_method", default = "auto",
    words = { "auto", "fork", "spawn" } },
  { name = "worker_command", text = "the path of the command tidemill",
    optional = "to be found" },
  { name = "max_tasks_per_child", whole = "a whole number from 1",
    optional = "no limit" },
  { name = "max_memory_per_child", whole = "a whole number of bytes from 1",
    bytes = true, optional = "no limit" },
  { name = "pin", default = "auto", words = { "auto" }, boolean = true },
  { name = "log_level", default = "info",
    words = { "error", "warning", "info", "debug", "TODO" } },
  { name = "log_file", text = "the name of a file", optional = "stderr" },
  { name = "progress", default = false, boolean = true },
  { name = "arena_size", default = "auto", words = { "auto" },
    whole = "a whole number of bytes from 1", bytes = true },
}

local config = { keys = keys }

--- What keeps OpenMP and numerical libraries to a number of threads.
config.thread_variable_names = {
  "OMP_NUM_THREADS",
  "OPENBLAS_NUM_THREADS",
  "MKL_NUM_THREADS",
  "VECLIB_MAXIMUM_THREADS",
  "NUMEXPR_NUM_THREADS",
}

local FILE = "config.lua"
local LARGEST_COUNT = 2 ^ 31 - 1
local POWERS = { [""] = 0, k = 10, m = 20, g = 30, t = 40 }

--- How yes and no are written in the environment.
local TRUTH = {
  ["true"] = true, yes = true, on = true, ["1"] = true,
  ["false"] = false, no = false, off = false, ["0"] = false, none = false,
}

local function describe_allowed(setting)
  local list = {}
  for _, word in ipairs(setting.words or {}) do
    list[#list + 1] = '"' .. word .. '"'
  end
  list[#list + 1] = setting.boolean and "true" or nil
  list[#list + 1] = setting.boolean and "false" or nil
  list[#list + 1] = setting.whole
  list[#list + 1] = setting.bytes and 'a size such as "512M"' or nil
  list[#list + 1] = setting.text
  if setting.optional then
    list[#list + 1] = ("false (%s)"):format(setting.optional)
  end
  return nearest.any_of(list)
end

local names, by_name = {}, {}
for i, setting in ipairs(keys) do
  setting.allowed = describe_allowed(setting)
  setting.env = "TIDEMILL_" .. setting.name:upper()
  names[i] = setting.name
  by_name[setting.name] = setting
end

--- A value as a message shows what it got.
local function show(value)
  if type(value) == "string" then
    if #value > 40 then value = value:sub(1, 37) .. "..." end
    return ('"%s"'):format((value:gsub("%c", "?")))
  elseif type(value) == "number" then
    return (("%.14g"):format(value))
  elseif value == nil or type(value) == "boolean" then
    return tostring(value)
  end
  return "a " .. type(value)
end

--- What was found, with the nearest word that would have been right.
local function describe_found(setting, value)
  local near = nearest(value, setting.words or {})
  if near then
    return ('%s; did you mean "%s"?'):format(show(value), near)
  elseif math.type(value) and value > LARGEST_COUNT then
    return show(value) .. ", which is too large"
  end
  return show(value)
end

--- "512M", "2 GiB", "1.5g" in bytes; nil when it is no size.
local function parse_bytes(text)
  local number, unit = text:lower():match("^%s*([%d.]+)%s*(%a*)%s*$")
  number = tonumber(number)
  local power = number and POWERS[unit:gsub("i?b$", "")]
  return power and number * 2.0 ^ power // 1
end

local function as_whole(setting, value)
  local n = math.type(value) and math.tointeger(value)
  if not n or n < 1 then return nil end
  if not setting.bytes and n > LARGEST_COUNT then return nil end
  return n
end

local function contains(list, value)
  for _, v in ipairs(list or {}) do
    if v == value then return true end
  end
  return false
end

--- Whether the setting may have this value, and the value in its one form:
--- an integer for numbers and sizes, nil for "false" of an optional one.
---@param setting tidemill.setting
---@param value any
---@return boolean ok, any normalised
local function judge(setting, value)
  if contains(setting.words, value) then return true, value end
  if setting.optional and not value then return true, nil end
  if type(value) == "boolean" then
    return setting.boolean or false, value
  elseif type(value) == "string" then
    if setting.text then return value ~= "", value end
    value = setting.bytes and parse_bytes(value)
  end
  local n = setting.whole and as_whole(setting, value)
  return n ~= nil and n ~= false, n
end

local function refuse(setting, subject, found)
  error(("%s must be %s (got %s)"):format(subject, setting.allowed,
    describe_found(setting, found)), 0)
end

--- Checks one value.
---@param key any
---@param value any nil is the setting's default
---@param where string begins the message, e.g. the name of a file
---@return any normalised
function config.check(key, value, where)
  local setting = by_name[key]
  if not setting then
    error(where .. ": " .. nearest.unknown("key", key, names), 0)
  end
  if value == nil then return setting.default end
  local ok, normalised = judge(setting, value)
  if not ok then refuse(setting, where .. ": " .. key, value) end
  return normalised
end

--- A wrong spelling is told before a wrong value, and of several always the
--- same one first.
local function check_known(values, where)
  local unknown = {}
  for key in pairs(values) do
    if not by_name[key] then unknown[#unknown + 1] = tostring(key) end
  end
  if #unknown == 0 then return end
  table.sort(unknown)
  error(where .. ": " .. nearest.unknown("key", unknown[1], names), 0)
end

--- Sets several settings; all of them, or, after an error, none.
---@param settings table as of config.load
---@param overrides table
---@param where string begins messages, and is noted as the origin
---@param origins? table<string, string> as of config.load
function config.apply(settings, overrides, where, origins)
  check_known(overrides, where)
  local checked = {}
  for _, key in ipairs(names) do
    local value = overrides[key]
    if value ~= nil then checked[key] = config.check(key, value, where) end
  end
  for key in pairs(overrides) do
    settings[key] = checked[key]
    if origins then origins[key] = where end
  end
end

--- The text of a file, nil when there is no such file, or false and why it
--- cannot be read.
local function read(path)
  local file, message, code = io.open(path, "r")
  if not file then
    local ENOENT, ENOTDIR = 2, 20
    if code == ENOENT or code == ENOTDIR then return nil end
    return false, message
  end
  local text
  text, message = file:read("a")
  file:close()
  if not text then return false, ("%s: %s"):format(path, message) end
  return text
end

--- Runs a config file's text, as text only and with nothing in reach.
--- Answers its table, or nil and a message that begins with the path.
local function run(text, path)
  text = text:gsub("^\239\187\191", ""):gsub("^#[^\n]*", "")
  local chunk, result = load(text, "=config", "t", {})
  local ok = chunk ~= nil
  if chunk then ok, result = pcall(chunk) end
  if not ok then
    local message = tostring(result):gsub("^config:(%d+:)", "%1", 1)
    local joint = message:find("^%d") and ":" or ": "
    return nil, path .. joint .. message
  elseif type(result) ~= "table" then
    return nil, ("%s must return a table (got %s)"):format(path, show(result))
  end
  return result
end

--- A file that was named or stands beside the script: ours, faults and all.
local function load_strict(path, must_exist)
  local text, message = read(path)
  if text == nil and not must_exist then return nil end
  if text == nil then
    error(("TIDEMILL_CONFIG names a file that does not exist: %s")
      :format(path), 0)
  end
  local values
  if text then values, message = run(text, path) end
  if not values then error(message, 0) end
  return values
end

--- Whether a file that may be anybody's has a key of ours; if not, the
--- first of its keys that looks as if it was meant to be one.
local function has_own_key(values)
  local near
  for key in pairs(values) do
    if by_name[key] then return true end
    if nearest(key, names) and (not near or key < near) then near = key end
  end
  return false, near
end

--- A file in the working directory may be any program's.
local function load_lenient(path, notes)
  local text, message = read(path)
  if text == nil then return nil end
  local values
  if text then values, message = run(text, path) end
  if values then
    local own, near = has_own_key(values)
    if own then return values end
    message = path .. " has no key of tidemill's"
    if near then
      message = ("%s, but '%s'%s"):format(message, near,
        nearest.hint(near, names))
    end
  end
  notes[#notes + 1] = "ignored in the working directory: " .. message
  return nil
end

--- Finds and runs the config file. Answers its table and path, or nil.
local function find(options, getenv, notes)
  local named = getenv("TIDEMILL_CONFIG")
  if named and named ~= "" then return load_strict(named, true), named end
  if options.script then
    local beside = (options.script:match("^.*/") or "") .. FILE
    local values = load_strict(beside, false)
    if values then return values, beside end
  end
  local here = (options.directory or "") .. FILE
  local values = load_lenient(here, notes)
  return values, values and here
end

--- What the text of an environment variable says to this setting.
local function parse(setting, text)
  text = text:match("^%s*(.-)%s*$")
  if contains(setting.words, text) then return text end
  if setting.whole and tonumber(text) then return tonumber(text) end
  local truth = TRUTH[text:lower()]
  if truth ~= nil and setting.boolean then return truth end
  if truth == false and setting.optional then return false end
  return text
end

local function apply_environment(settings, origins, getenv)
  for _, setting in ipairs(keys) do
    local text = getenv(setting.env)
    if text and text ~= "" then
      local origin = "environment: " .. setting.env
      local ok, value = judge(setting, parse(setting, text))
      if not ok then refuse(setting, origin, text) end
      settings[setting.name] = value
      origins[setting.name] = origin
    end
  end
end

--- Reads all settings.
---@param options? {script?: string, getenv?: fun(name: string): string?,
---  env?: boolean, directory?: string} script: the path of the running
---  script; env = false: ignore the environment; directory: taken for the
---  working directory ("" or ending in "/")
---@return table settings every setting that is not nil
---@return table<string, string> origins for every key: "default",
---  "config.lua: <path>" or "environment: TIDEMILL_THREADS"
---@return string[] notes for the log, at level info
---@return string|nil path of the config file in force
function config.load(options)
  options = options or {}
  local getenv = options.getenv or os.getenv
  if options.env == false then getenv = function() return nil end end
  local settings, origins, notes = {}, {}, {}
  for _, setting in ipairs(keys) do
    settings[setting.name] = setting.default
    origins[setting.name] = "default"
  end
  local values, path = find(options, getenv, notes)
  if values then
    config.apply(settings, values, path)
    for key in pairs(values) do origins[key] = "config.lua: " .. path end
  end
  apply_environment(settings, origins, getenv)
  return settings, origins, notes, path
end

--- The environment variables that keep C libraries to `cext_threads`
--- threads, without those that the user has set.
---@param settings table
---@param getenv? fun(name: string): string?
---@return table<string, string>
function config.thread_variables(settings, getenv)
  getenv = getenv or os.getenv
  local wanted = {}
  for _, name in ipairs(config.thread_variable_names) do
    local present = getenv(name)
    if not present or present == "" then
      wanted[name] = tostring(settings.cext_threads)
    end
  end
  return wanted
end

return config
