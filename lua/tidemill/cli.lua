--- cli.lua: the command line of `tidemill`, which is that of lua5.4
---
--- The C program makes the runtime and the state, and calls this with its
--- arguments and a table of what Lua has no access to. What is said here of
--- lua.c is Lua 5.4's own: scripts must not notice the difference.

---@class tidemill.host
---@field core table the core module: version, cpus(), arena_stats()
---@field isatty fun(fd: integer): boolean
---@field configure fun(script: string|nil, options: {env: boolean})
---  loads the config and puts it in force; raises what is wrong with it
---@field rearm? fun() lets the next Ctrl-C interrupt a statement again

---@class tidemill.arguments what the options ask for
---@field actions {letter: string, value?: string}[] -e, -l, -W, in order
---@field script integer where the script stands, or one past the end
---@field interactive boolean
---@field version boolean
---@field ignore_env boolean
---@field literal boolean whether "--" stands before the script, so that
---  "-" and "info" are names of files
---@field help? "help"|"version"
---@field bad? string an option that is none, or lacks its argument

local nearest = require "tidemill.nearest"

local USAGE = [==[
usage: tidemill [options] [script [args]]
       tidemill [options] info [script]
Available options are:
  -e stat    execute string 'stat'
  -i         enter interactive mode after executing 'script'
  -l mod     require library 'mod' into global 'mod'
  -l g=mod   require library 'mod' into global 'g'
  -v         show version information
  -E         ignore environment variables
  -W         turn warnings on
  --help     show this and exit
  --version  show the version and exit
  --         stop handling options
  -          stop handling options and execute stdin
]==]

local HELP = USAGE .. [[

A script runs as under lua5.4, and `require "tidemill"` gives it workers.

`tidemill info` shows the CPUs that this process may use, and each setting
with where it came from; with a script, the settings which that script
would have. A script named "info" is run as ./info.

Settings are read from the file that TIDEMILL_CONFIG names, else from
config.lua beside the script, else from config.lua in the working directory.
An environment variable such as TIDEMILL_THREADS overrides each.
]]

local LONG_OPTIONS = { "--help", "--version" }

-- What the command itself needs, whatever a script does to its globals.
local globals = _G
local stdin, stdout, stderr = io.stdin, io.stdout, io.stderr
local raw_metatable, traceback = debug.getmetatable, debug.traceback

local function version(host)
  local core = host.core
  return ("tidemill %s (%s)\n"):format(core.version, core.lua or _VERSION)
end

--- Prints a line on stderr, if the script has not closed it.
local function say(line)
  pcall(stderr.write, stderr, line .. "\n")
end

--- Reports an error. Answers false, so that callers can return it.
local function complain(message)
  say("tidemill: " .. message)
  return false
end

--- What to print of an error object, and whether that is all: as in lua.c,
--- an object that makes a string of itself is shown with no traceback.
local function describe(err)
  if type(err) == "string" or type(err) == "number" then
    return tostring(err), false
  end
  local meta = raw_metatable(err)
  local convert = type(meta) == "table" and rawget(meta, "__tostring")
  if convert then
    local text = convert(err)
    if type(text) == "string" then return text, true end
  end
  return ("(error object is a %s value)"):format(type(err)), false
end

--- Drops the frames of this file, the last n, from a traceback, and puts in
--- their place what lua.c has there.
local function cut_frames(text, n)
  for _ = 1, n do text = text:gsub("\n\t[^\n]*$", "", 1) end
  return text .. "\n\t[C]: in ?"
end

--- Calls f with a message handler. Answers true, or false and the message.
---@return boolean ok, any message, any ... what f returned, when ok
local function call(f, ...)
  local _, below = traceback("", 1):gsub("\n\t", "")
  local xpcall_frame = 1
  return xpcall(f, function(err)
    local message, complete = describe(err)
    if complete then return message end
    return cut_frames(traceback(message, 2), below + xpcall_frame)
  end, ...)
end

--- Runs what a load function answered. Answers whether all went well; what
--- went wrong has been printed.
local function run(chunk, message, ...)
  if not chunk then return complain(message) end
  local ok, problem = call(chunk, ...)
  return ok or complain(problem)
end

local function run_library(value)
  local name, module = value:match("^([^=]*)=(.*)$")
  name, module = name or value, module or value
  local ok, result = call(globals.require, module)
  if not ok then return complain(result) end
  globals[name] = result
  return true
end

--- LUA_INIT, as lua.c has it: a statement, or a file after "@".
local function run_init()
  local name = "LUA_INIT_5_4"
  local init = os.getenv(name)
  if not init then
    name = "LUA_INIT"
    init = os.getenv(name)
  end
  if not init then return true end
  if init:sub(1, 1) == "@" then return run(loadfile(init:sub(2))) end
  return run(load(init, "=" .. name))
end

--- Runs -e, -l and -W; stops at the first that fails.
local function run_actions(actions)
  for _, action in ipairs(actions) do
    if action.letter == "W" then
      warn("@on")
    elseif action.letter == "l" then
      if not run_library(action.value) then return false end
    elseif not run(load(action.value, "=(command line)")) then
      return false
    end
  end
  return true
end

--- Runs a script, stdin for nil, with the arguments in the global `arg`.
local function run_script(path)
  local chunk, message = loadfile(path)
  local list = globals.arg
  if not chunk then return complain(message) end
  if type(list) ~= "table" then return complain("'arg' is not a table") end
  return run(chunk, nil, table.unpack(list, 1, #list))
end

--- The option at argv[i], which begins with a single "-", into `found`.
--- Answers where the next one stands.
local function take_short(argv, i, found)
  local text = argv[i]
  local letter, value = text:sub(2, 2), text:sub(3)
  if letter == "e" or letter == "l" then
    if value == "" then
      i = i + 1
      value = argv[i]
    end
    if not value or value == argv[i] and value:sub(1, 1) == "-" then
      found.bad = ("'-%s' needs argument"):format(letter)
    end
    found.actions[#found.actions + 1] = { letter = letter, value = value }
  elseif value ~= "" or not letter:find("[EivW]") then
    found.bad = ("unrecognized option '%s'"):format(text)
  elseif letter == "W" then
    found.actions[#found.actions + 1] = { letter = letter }
  else
    found.ignore_env = found.ignore_env or letter == "E"
    found.interactive = found.interactive or letter == "i"
    found.version = found.version or letter == "i" or letter == "v"
  end
  return i + 1
end

local function take_long(text, found)
  if text == "--help" or text == "--version" then
    found.help = text:sub(3)
    return
  end
  local near = nearest(text, LONG_OPTIONS)
  found.bad = ("unrecognized option '%s'%s"):format(text,
    near and (" (did you mean '%s'?)"):format(near) or "")
end

--- Reads the options, up to the script, "-", "--" or a fault.
---@return tidemill.arguments
local function parse(argv)
  local found = { actions = {}, interactive = false, version = false,
                  ignore_env = false, literal = false }
  local i = 1
  while argv[i] and not found.bad and not found.help do
    local text = argv[i]
    if text:sub(1, 1) ~= "-" or text == "-" then break end
    if text == "--" then
      found.literal = true
      i = i + 1
      break
    elseif text:sub(1, 2) == "--" then
      take_long(text, found)
    else
      i = take_short(argv, i, found)
    end
  end
  found.script = i
  return found
end

--- The global table `arg`: the script is arg[0], or, without a script, the
--- program is.
local function make_arg(argv, script)
  local shift = argv[script] and script or 0
  local list = {}
  for i = 0, #argv do list[i - shift] = argv[i] end
  return list
end

--- Reads a line of an interactive session; nil at its end.
local function read_line(variable, default)
  local prompt = globals[variable]
  stdout:write(prompt == nil and default or tostring(prompt))
  stdout:flush()
  return stdin:read("l")
end

--- Reads a statement, over as many lines as it takes. Answers a function,
--- or nil and what is wrong with it, or nothing at the end.
local function read_statement()
  local text = read_line("_PROMPT", "> ")
  if not text then return nil end
  text = text:gsub("^=", "return ")
  local chunk = load("return " .. text, "=stdin")
  if chunk then return chunk end
  while true do
    local message
    chunk, message = load(text, "=stdin")
    if chunk or not message:find("<eof>$") then return chunk, message end
    local more = read_line("_PROMPT2", ">> ")
    if not more then return nil, message end
    text = text .. "\n" .. more
  end
end

--- Prints what a statement returned, with the script's own print.
local function print_results(ok, ...)
  if not ok then return say((...)) end
  if select("#", ...) == 0 then return end
  local printed, message = pcall(globals.print, ...)
  if not printed then
    say(("error calling 'print' (%s)"):format(tostring(message)))
  end
end

local function run_interactive(host)
  while true do
    local chunk, message = read_statement()
    if chunk then
      if host.rearm then host.rearm() end
      print_results(call(chunk))
    elseif message then
      say(message)
    else
      break
    end
  end
  stdout:write("\n")
  stdout:flush()
end

local function show_bytes(n)
  local units, i = { "B", "KiB", "MiB", "GiB", "TiB" }, 1
  while n >= 1024 and i < #units do
    n, i = n / 1024, i + 1
  end
  return ("%.4g %s"):format(n, units[i])
end

local function show_cpus(cpus)
  local quota = cpus.quota
  return ("%d usable: %s\n  machine %d, affinity mask %d, cgroup quota %s\n")
    :format(cpus.usable, cpus.why, cpus.online, cpus.affinity,
      quota and quota > 0 and ("%.4g"):format(quota) or "none")
end

--- A setting's value as config.lua would have it, and what it comes to.
local function show_value(setting, settings, cpus)
  local value = settings[setting.name]
  local text = tostring(value)
  if type(value) == "string" then text = ('"%s"'):format(value) end
  local counts = setting.name == "threads" or setting.name == "processes"
  if counts and value == "auto" then
    return ("%s (%d)"):format(text, cpus.usable)
  elseif setting.bytes and type(value) == "number" then
    return ("%s (%s)"):format(text, show_bytes(value))
  end
  return text
end

--- The settings, a line each, with where they came from; then what C
--- libraries go by.
local function show_settings(cpus, settings, origins)
  local config = require "tidemill.config"
  local lines = {}
  for _, setting in ipairs(config.keys) do
    lines[#lines + 1] = ("  %-21s %-17s %s\n"):format(setting.name,
      show_value(setting, settings, cpus), origins[setting.name])
  end
  lines[#lines + 1] = "threads of C libraries, in each worker\n"
  for _, name in ipairs(config.thread_variable_names) do
    lines[#lines + 1] = ("  %-23s %s\n"):format(name,
      os.getenv(name) or "not set")
  end
  return table.concat(lines)
end

--- `tidemill info`.
local function run_info(host, script, ignore_env)
  local config = require "tidemill.config"
  local settings, origins, notes, path = config.load {
    script = script, env = not ignore_env
  }
  local cpus, arena = host.core.cpus(), host.core.arena_stats()
  stdout:write(version(host), "CPUs: ", show_cpus(cpus))
  stdout:write(("arena: %s reserved, %s used\n"):format(
    show_bytes(arena.reserved), show_bytes(arena.used)))
  stdout:write("config: ", path or "no file", "\n")
  for _, note in ipairs(notes) do stdout:write("  ", note, "\n") end
  stdout:write(show_settings(cpus, settings, origins))
end

--- What `script` names: "info", "stdin", "file", or "none".
local function kind_of(script, literal)
  if not script then return "none" end
  if script == "info" and not literal then return "info" end
  return script == "-" and not literal and "stdin" or "file"
end

--- Runs the script, or what stands in its place. Answers whether it ended
--- well.
local function run_main(argv, host, found, kind)
  if kind == "info" then
    local script = argv[found.script + 1]
    return run(run_info, nil, host, script, found.ignore_env)
  elseif kind == "file" then
    return run_script(argv[found.script])
  elseif kind == "stdin" then
    return run_script(nil)
  end
  return true
end

--- Without a script and anything else to do, stdin is what is run.
local function run_rest(host, found, kind)
  local idle = kind == "none" and not found.version
  for _, action in ipairs(found.actions) do
    idle = idle and action.letter ~= "e"
  end
  if found.interactive then
    run_interactive(host)
  elseif idle and host.isatty(0) then
    stdout:write(version(host))
    run_interactive(host)
  elseif idle then
    return run(loadfile())
  end
  return true
end

local function configure(argv, host, found, kind)
  local script
  if kind == "file" then script = argv[found.script] end
  if kind == "info" then script = argv[found.script + 1] end
  local options = { env = not found.ignore_env }
  local ok, err = pcall(host.configure, script, options)
  return ok or complain((describe(err)))
end

--- All that comes after the options are known to be right. Settings come
--- before anything else runs: libraries read their variables when loaded.
local function run_all(argv, host, found)
  local kind = kind_of(argv[found.script], found.literal)
  if found.version then stdout:write(version(host)) end
  globals.arg = make_arg(argv, found.script)
  collectgarbage("generational") -- as lua.c does
  return configure(argv, host, found, kind)
    and (found.ignore_env or run_init())
    and run_actions(found.actions)
    and run_main(argv, host, found, kind)
    and run_rest(host, found, kind)
end

--- Runs the command.
---@param argv table<integer, string> the program at 0, arguments from 1
---@param host tidemill.host
---@return integer # exit status
return function(argv, host)
  local found = parse(argv)
  if found.help then
    stdout:write(found.help == "help" and HELP or version(host))
    return 0
  elseif found.bad then
    complain(found.bad)
    pcall(stderr.write, stderr, USAGE)
    return 1
  end
  return run_all(argv, host, found) and 0 or 1
end
