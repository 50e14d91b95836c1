--- kernel.lua: where kernels come from: libraries, C text, the host
---
--- C text is compiled once and kept in the user's cache folder, under a hash
--- of everything that the result depends on. A file there is complete or not
--- there: it is compiled under another name and renamed, so that processes
--- may compile the same text at once.

local core = require "tidemill.core"
local options = require "tidemill.options"

local kernel = {}

-- ---- finding -------------------------------------------------------------

--- Loads a library that exports kernels (TM_KERNELS in tidemill_kernel.h).
--- It stays loaded. A path without a folder is looked for here first, then
--- where the system looks for libraries.
---@param path string
---@return table<string, tidemill.kernel> kernels by name
function kernel.load(path)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'load_kernels' (string expected, got %s)")
      :format(type(path)), 2)
  end
  local ok, found = pcall(core.open_kernels, core.real_path(path) or path)
  if not ok then error("load_kernels: " .. tostring(found), 2) end
  return found
end

--- A kernel that the host program registered (tm_kernel_register).
---@param name string
---@return tidemill.kernel
function kernel.find(name)
  if type(name) ~= "string" then
    error(("bad argument #1 to 'kernel' (string expected, got %s)")
      :format(type(name)), 2)
  end
  local found = core.find_kernel(name)
  if not found then
    error(("kernel: the host has registered no kernel '%s'"):format(name), 2)
  end
  return found
end

--- A function of a C library, by its declaration: "double cos(double)". It
--- is called like any other, with numbers, strings and arrays, and travels to
--- workers. One of numbers alone can also be run over arrays:
--- pool:run(cos, n, out, x). Needs a tidemill that was built with libffi.
---@param library string|nil as dlopen takes it; nil: the program itself
---@param declaration string
---@return tidemill.cfunction
function kernel.cfunction(library, declaration)
  if library ~= nil and type(library) ~= "string" then
    error(("bad argument #1 to 'cfunction' (string expected, got %s)")
      :format(type(library)), 2)
  end
  if type(declaration) ~= "string" then
    error(("bad argument #2 to 'cfunction' (string expected, got %s)")
      :format(type(declaration)), 2)
  end
  local path = library and (core.real_path(library) or library) or ""
  local ok, found = pcall(core.new_cfunction, path, declaration)
  if not ok then error("cfunction: " .. tostring(found), 2) end
  return found
end

-- ---- files and commands --------------------------------------------------

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

local function write_file(path, text)
  local file, why = io.open(path, "wb")
  if not file then return nil, why end
  local ok, fault = file:write(text)
  local closed, late = file:close()
  return ok and closed, fault or late
end

--- What a command says, and whether it went well.
local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1 </dev/null"))
  local text = pipe:read("a")
  return text, pipe:close() == true
end

-- ---- the compiler --------------------------------------------------------

local COMPILERS = { "cc", "gcc", "clang" }

--- Not -ffast-math, and no fused multiply-add: a result has the same bits on
--- every machine. Scripts that want otherwise say so in cflags.
local FLAGS = "-O3 -march=native -ffp-contract=off -fPIC -shared"

--- What -march=native depends on.
local function cpu()
  local text = read_file("/proc/cpuinfo") or ""
  return (text:match("model name[^\n]*") or "") ..
    (text:match("\nflags[^\n]*") or text:match("\nFeatures[^\n]*") or "")
end

--- Compilers by command: what they say of themselves. Asked once.
local identities = {}

local function identify(command)
  if identities[command] == nil then
    local text, ok = run(command .. " --version && " .. command
      .. " -dumpmachine")
    identities[command] = ok and text or false
  end
  return identities[command]
end

local function find_compiler()
  local chosen = os.getenv("CC")
  if chosen and chosen:find("%S") then
    local identity = identify(chosen)
    if identity then return chosen, identity end
    error(("compile: the compiler that CC names does not run: %s")
      :format(chosen), 0)
  end
  for _, command in ipairs(COMPILERS) do
    local identity = identify(command)
    if identity then return command, identity end
  end
  error("compile: no C compiler (looked for cc, gcc and clang; CC may name "
    .. "another)", 0)
end

-- ---- options -------------------------------------------------------------

local NAMES = { "cflags", "libs", "name" }

--- The words of an option: a string as the shell has it, or a list.
local function words(o, name, each)
  local given = o[name]
  if given == nil then return "" end
  local list = given
  if type(given) == "string" then
    list = {}
    for word in given:gmatch("%S+") do list[#list + 1] = word end
  elseif type(given) ~= "table" then
    error(("option '%s' must be a string or a list of strings (got a %s)")
      :format(name, type(given)), 0)
  end
  local quoted = {}
  for i, word in ipairs(list) do
    if type(word) ~= "string" then
      error(("option '%s' must be a string or a list of strings (item %d is "
        .. "a %s)"):format(name, i, type(word)), 0)
    end
    quoted[i] = quote(each and each(word) or word)
  end
  return table.concat(quoted, " ")
end

local function library(word)
  return word:find("^[-/.]") and word or "-l" .. word
end

local function read_options(o)
  o = o or {}
  if type(o) ~= "table" then
    error(("bad argument #2 to 'compile' (table expected, got %s)")
      :format(type(o)), 0)
  end
  for name in pairs(o) do
    local known = false
    for _, allowed in ipairs(NAMES) do known = known or name == allowed end
    if not known then
      error(require("tidemill.nearest").unknown("option", name, NAMES), 0)
    end
  end
  if o.name ~= nil then options.check("name", o.name, "string", 0) end
  return words(o, "cflags"), words(o, "libs", library), o.name
end

-- ---- lines ---------------------------------------------------------------

local function count_lines(text, last)
  local _, n = text:sub(1, last):gsub("\n", "")
  return n + 1
end

--- The line of the chunk's text where `source` begins: of the places where
--- it stands, the nearest to `line`, where compile was called. nil when it
--- stands nowhere.
local function find_line(text, source, line)
  local best
  local at = text:find(source, 1, true)
  while at do
    local found = count_lines(text, at - 1)
    if not best or math.abs(found - line) < math.abs(best - line) then
      best = found
    end
    at = text:find(source, at + 1, true)
  end
  return best
end

--- Where the C text stands: a line for the preprocessor. A text that is put
--- together is counted from where compile was called; but after a tail call
--- nobody knows where that was.
local function place(source, info, tail)
  local name, text = info.short_src, info.source
  if text:sub(1, 1) == "@" then
    name = text:sub(2)
    text = read_file(name) or ""
  elseif text:sub(1, 1) == "=" then
    text = ""
  end
  local line = find_line(text, source, info.currentline)
  if not line and (tail or info.currentline < 1) then
    name, line = "C text", 1
  end
  line = line or info.currentline
  return ('#line %d "%s"\n'):format(line,
    (name:gsub('[\\"]', "\\%0"):gsub("\n", "\\n")))
end

-- ---- the cache -----------------------------------------------------------

--- The user's folder for compiled kernels; else a temporary one, and true.
local function folder()
  local root = os.getenv("XDG_CACHE_HOME")
  local home = os.getenv("HOME")
  if not (root and root:sub(1, 1) == "/") then
    root = home and home:sub(1, 1) == "/" and home .. "/.cache" or nil
  end
  local path = root and root .. "/tidemill"
  if path and core.make_folder(path) then return path, false end
  local temporary, why = core.temporary_folder()
  if not temporary then error("compile: no folder to work in: " .. why, 0) end
  return temporary, true
end

--- Puts a file in place whole, unless it is there.
local function place_file(path, text)
  if read_file(path) == text then return end
  local new = path .. "." .. core.file_token()
  local ok, why = write_file(new, text)
  if ok then ok, why = os.rename(new, path) end
  if not ok then
    os.remove(new)
    error("compile: " .. why, 0)
  end
end

--- Compiles job.text into job.path.
local function build(job)
  local headers = job.folder .. "/include-" .. job.header_hash
  local ok, why = core.make_folder(headers)
  if not ok then error("compile: " .. why, 0) end
  place_file(headers .. "/tidemill_kernel.h", core.kernel_header())
  local base = job.path .. "." .. core.file_token()
  local c_file, so_file = base .. ".c", base .. ".so"
  ok, why = write_file(c_file, job.text)
  if not ok then error("compile: " .. why, 0) end
  local said
  said, ok = run(table.concat({ job.command, FLAGS, job.cflags,
    "-I" .. quote(headers), "-o", quote(so_file), quote(c_file), job.libs },
    " "))
  os.remove(c_file)
  if ok then ok = os.rename(so_file, job.path) end
  if not ok then
    os.remove(so_file)
    error(("compile: %s failed:\n%s"):format(job.command, said), 0)
  end
  if said:find("%S") then core.log(said, "warning") end
end

--- Loads what is in the cache, or compiles it. A file that does not load
--- (a disk was full) is made anew.
local function load_or_build(job)
  local loaded, kernels
  if read_file(job.path) then
    loaded, kernels = pcall(core.open_kernels, job.path)
    if loaded then return kernels end
    os.remove(job.path)
  end
  build(job)
  loaded, kernels = pcall(core.open_kernels, job.path)
  if loaded then return kernels end
  os.remove(job.path)
  error("compile: " .. tostring(kernels), 0)
end

--- Nothing is left of a temporary folder once its library is loaded.
local function clear(job)
  local headers = job.folder .. "/include-" .. job.header_hash
  os.remove(job.path)
  os.remove(headers .. "/tidemill_kernel.h")
  os.remove(headers)
  os.remove(job.folder)
end

local function compile(source, o, info, tail)
  if not source:find("TM_KERNELS", 1, true) then
    error("compile: the text has no table of kernels (TM_KERNELS, see "
      .. "tidemill_kernel.h)", 0)
  end
  local cflags, libs, name = read_options(o)
  local command, identity = find_compiler()
  local header = core.kernel_header()
  local hash = core.content_hash(table.concat({ source, FLAGS, cflags, libs,
    command, identity, cpu(), header }, "\0"))
  local path, temporary = folder()
  local job = {
    command = command, cflags = cflags, libs = libs, folder = path,
    header_hash = core.content_hash(header):sub(1, 16),
    path = ("%s/%s.so"):format(path, hash),
    text = '#include "tidemill_kernel.h"\n' .. place(source, info, tail)
      .. source .. "\n",
  }
  local ok, kernels = pcall(load_or_build, job)
  if temporary then clear(job) end
  if not ok then error(kernels, 0) end
  if name and not kernels[name] then
    error(("compile: the text has no kernel '%s'"):format(name), 0)
  end
  return name and kernels[name] or kernels
end

--- Compiles C text and loads its kernels. tidemill_kernel.h is included
--- already; the text ends with its TM_KERNELS table. Errors of the compiler
--- name the script's own lines.
---@param source string
---@param opts? {cflags?: string|string[], libs?: string|string[],
---  name?: string} name: answers this kernel alone
---@return table<string, tidemill.kernel>|tidemill.kernel
function kernel.compile(source, opts)
  if type(source) ~= "string" then
    error(("bad argument #1 to 'compile' (string expected, got %s)")
      :format(type(source)), 2)
  end
  local ok, found = pcall(compile, source, opts, debug.getinfo(2, "Sl"),
    debug.getinfo(1, "t").istailcall)
  if not ok then error(found, 2) end
  return found
end

return kernel
