--- child.lua: scripts that specs run in a process of their own

local child = {}

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function current_directory()
  local pipe = assert(io.popen("pwd"))
  local path = pipe:read("l")
  pipe:close()
  return path
end

--- The command under test.
child.command = os.getenv("TIDEMILL")
  or current_directory() .. "/build/tidemill"

--- Whether it was built with a sanitizer, which has handlers of its own for the
--- signals of crashes; and what keeps it from that, for `env`.
child.sanitized = child.command:find "/[at]san/[^/]*$" ~= nil
child.crashes = {}
for _, name in ipairs { "ASAN_OPTIONS", "TSAN_OPTIONS" } do
  child.crashes[#child.crashes + 1] = name .. "="
    .. "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_abort=0"
end

--- Seconds after which a child is taken to hang.
local LIMIT <const> = 60

--- Variables of the shell that runs the tests, which children must not see.
local HIDDEN = { "TIDEMILL_CONFIG", "LUA_INIT", "LUA_INIT_5_4",
  "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
  "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS" }

for _, setting in ipairs(require("tidemill.config").keys) do
  HIDDEN[#HIDDEN + 1] = setting.env
end

---@class child.outcome
---@field out string
---@field err string
---@field status integer 124 when it hung

--- Runs a script in an empty directory, as main.lua.
---@param text string the script
---@param options? {env?: string[], files?: table<string, string>,
---  program?: string, prefix?: string} env: "NAME=value"; files: more files
---  in the directory; program: runs the script in place of the command;
---  prefix: shell text before the command
---@return child.outcome
function child.run(text, options)
  options = options or {}
  local directory = os.tmpname()
  os.remove(directory)
  assert(os.execute("mkdir " .. quote(directory)))
  local function write(name, content)
    local file = assert(io.open(directory .. "/" .. name, "wb"))
    file:write(content)
    file:close()
  end
  write("main.lua", text)
  for name, content in pairs(options.files or {}) do write(name, content) end
  local words = { "env" }
  for _, name in ipairs(HIDDEN) do words[#words + 1] = "-u " .. name end
  for _, setting in ipairs(options.env or {}) do
    words[#words + 1] = quote(setting)
  end
  local _, _, status = os.execute(
    ("cd %s && %s %s timeout -k 5 %d %s main.lua </dev/null >out 2>err")
    :format(quote(directory), options.prefix or "", table.concat(words, " "),
      LIMIT, quote(options.program or child.command)))
  local outcome = { out = read(directory .. "/out"),
                    err = read(directory .. "/err"), status = status }
  os.execute("rm -rf " .. quote(directory))
  return outcome
end

return child
