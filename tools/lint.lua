-- Checks what compilers and luacheck do not: that includes go one way
-- (base <- store <- run <- host <- bind <- main), that only the binding and the
-- command see Lua, that #if stays where systems differ, and the sizes of
-- lines, functions and files. Prints "path:line: what", and the sizes.

local LAYERS = { base = 0, store = 1, run = 2, host = 3, bind = 4 }
local WIDTH, WIDTH_LIMIT = 80, 100
local FUNCTION_P95, FUNCTION_LIMIT = 50, 80
local FILE_LINES, FILE_LIMIT = 450, 520

local problems, warnings = 0, 0

local function problem(path, line, ...)
  problems = problems + 1
  print(string.format("%s:%d: %s", path, line, string.format(...)))
end

local function warn(path, line, ...)
  warnings = warnings + 1
  print(string.format("%s:%d: warning: %s", path, line,
                      string.format(...)))
end

local function files(names)
  local command = "find src include lua spec examples tools bench man .ci "
    .. "-type f \\( " .. names .. " \\) 2>/dev/null | LC_ALL=C sort"
  local list = {}
  local pipe = assert(io.popen(command))
  for path in pipe:lines() do list[#list + 1] = path end
  pipe:close()
  return list
end

local function lines_of(path)
  local lines = {}
  for line in io.lines(path) do lines[#lines + 1] = line end
  return lines
end

-- ---- layers --------------------------------------------------------------

local LUA_HEADERS = { ["lua.h"] = true, ["lauxlib.h"] = true,
                      ["lualib.h"] = true, ["luaconf.h"] = true,
                      ["lua.hpp"] = true }

local function layer_of(path)
  if path == "src/main.c" then return 5 end
  return LAYERS[path:match("^src/(%w+)/")]
end

local function check_includes(path, lines)
  local rank = layer_of(path)
  local may_see_lua = rank and rank >= LAYERS.bind or path:find("^spec/")
    or path:find("^examples/")
  for i, line in ipairs(lines) do
    local name = line:match('^%s*#%s*include%s*[<"]([^>"]+)')
    local other = name and LAYERS[name:match("^(%w+)/")]
    if name and LUA_HEADERS[name] and not may_see_lua then
      problem(path, i, "%s outside src/bind and src/main.c", name)
    elseif rank and other and other > rank then
      problem(path, i, "%s is of a layer above", name)
    elseif name and not name:find("/") and rank and rank < 5
      and io.open("src/" .. path:match("^src/(%w+)/") .. "/" .. name) then
      problem(path, i, "include it as %s/%s", path:match("^src/(%w+)"), name)
    end
  end
end

-- A header's guard and C++ brackets are no choices between systems; in the
-- binding, versions of Lua differ.
local function check_conditions(path, lines)
  local rank = layer_of(path)
  if not rank or rank >= LAYERS.bind or path:find("^src/base/platform") then
    return
  end
  for i, line in ipairs(lines) do
    local condition = line:match("^%s*#%s*(if%w*%s.*)")
    if condition and not condition:find("^ifndef TM_[%u_]+_H$") then
      problem(path, i, "#%s belongs in src/base/platform", condition)
    end
  end
end

-- ---- text ----------------------------------------------------------------

-- Spelled in pieces so that they are not found here.
local MARKERS = { "%f[%w]FIX" .. "ME%f[%W]", "%f[%w]XX" .. "X%f[%W]",
                  "[-*/#]%s+TO" .. "DO%f[%W]" }
local PLACES = { "/wo" .. "rk/", "/ho" .. "me/%w", "/ro" .. "ot/" }

local function check_text(path, lines)
  for i, line in ipairs(lines) do
    local width = utf8.len(line) or #line
    if width > WIDTH_LIMIT then
      problem(path, i, "%d columns", width)
    elseif width > WIDTH then
      warn(path, i, "%d columns", width)
    end
    if line:find("%s$") then problem(path, i, "space at the end") end
    if line:find("\t") and not path:find("%.mk$") then
      problem(path, i, "a tab")
    end
    for _, marker in ipairs(MARKERS) do
      if line:find(marker) then problem(path, i, "unfinished: %s", line) end
    end
    for _, place in ipairs(PLACES) do
      if line:find(place) then problem(path, i, "a path of one machine") end
    end
  end
end

-- ---- packages -------------------------------------------------------------

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

-- A pattern of a shell as one of ours.
local function matches(name, pattern)
  local ours = pattern:gsub("%p", "%%%0"):gsub("%%%*", ".*")
  return name:find("^" .. ours .. "$")
end

-- What is in examples/ is in one of the packages.
local function check_examples()
  local lists = read("debian/tidemill.examples")
    .. read("debian/libtidemill-dev.examples")
  local pipe <close> = assert(io.popen("ls -d examples/*"))
  for name in pipe:lines() do
    local packed = false
    for pattern in lists:gmatch("%S+") do
      packed = packed or matches(name, pattern)
    end
    if not packed then problem(name, 0, "is in no list debian/*.examples") end
  end
end

-- ---- sizes ---------------------------------------------------------------

-- In our style a C function begins with a line that is not indented, and its
-- body ends with the next "}" in the first column.
local function c_functions(lines)
  local list, first = {}, nil
  for i, line in ipairs(lines) do
    if line:find("^[%a_].*%(") and not line:find(";%s*$")
      and not line:find("^typedef") and not line:find("=") then
      first = i
    elseif first and line:find("^}") then
      local name = lines[first]:match("([%w_]+)%(")
      list[#list + 1] = { name = name, line = first, size = i - first + 1 }
      first = nil
    elseif first and line:find("^%S") and not line:find("^[{#%s]")
      and not line:find("^%w+:") then
      first = nil
    end
    if first == i and line:find("}%s*$") then
      list[#list + 1] = { name = line:match("([%w_]+)%("), line = i, size = 1 }
      first = nil
    end
  end
  return list
end

-- A Lua function with a name ends with the next "end" of its own indent.
-- Functions of specs that hold tests are sections, not functions.
local function lua_functions(lines)
  local list = {}
  for i, line in ipairs(lines) do
    local indent, name = line:match("^(%s*)local function ([%w_]+)")
    if not name then indent, name = line:match("^(%s*)function ([%w_.:]+)") end
    local code = line:gsub("%s*%-%-.*", "")
    if name and code:find("%f[%w]end%s*$") then
      list[#list + 1] = { name = name, line = i, size = 1 }
    elseif name then
      for j = i + 1, #lines do
        if lines[j]:find("^" .. indent .. "end%f[%W]") then
          list[#list + 1] = { name = name, line = i, size = j - i + 1 }
          break
        end
      end
    end
  end
  return list
end

local all_functions, all_sizes = { c = {}, lua = {} }, { c = {}, lua = {} }

local function check_sizes(path, lines)
  local kind = path:find("%.lua$") and "lua" or "c"
  local list = kind == "lua" and lua_functions(lines) or c_functions(lines)
  for _, f in ipairs(list) do
    table.insert(all_functions[kind], f.size)
    if f.size > FUNCTION_LIMIT then
      problem(path, f.line, "%s has %d lines", f.name, f.size)
    elseif f.size > FUNCTION_P95 then
      warn(path, f.line, "%s has %d lines", f.name, f.size)
    end
  end
  table.insert(all_sizes[kind], #lines)
  if #lines > FILE_LIMIT then
    problem(path, #lines, "a file of %d lines", #lines)
  elseif #lines > FILE_LINES then
    warn(path, #lines, "a file of %d lines", #lines)
  end
end

local function quantile(sizes, q)
  table.sort(sizes)
  return sizes[math.max(1, math.ceil(q * #sizes))] or 0
end

local function summarise(kind, title)
  local functions, sizes = all_functions[kind], all_sizes[kind]
  local p95 = quantile(functions, 0.95)
  print(string.format(
    "%-4s %3d files, median %d lines; %4d functions, "
    .. "median %d, p95 %d, longest %d lines", title, #sizes,
    quantile(sizes, 0.5), #functions, quantile(functions, 0.5), p95,
    quantile(functions, 1)))
  if p95 >= FUNCTION_P95 then
    problem("src", 0, "95th percentile of functions: %d lines", p95)
  end
end

-- Headers that are manuals, and the annotations, are as long as they need be.
local function is_manual(path)
  return path:find("^include/") or path:find("%.d%.lua$")
end

for _, path in ipairs(files("-name '*.[ch]' -o -name '*.lua'")) do
  local lines = lines_of(path)
  check_text(path, lines)
  if path:find("%.[ch]$") then
    check_includes(path, lines)
    check_conditions(path, lines)
  end
  if not is_manual(path) then check_sizes(path, lines) end
end
for _, path in ipairs(files("-name '*.sh' -o -name run -o -name '*.1'")) do
  check_text(path, lines_of(path))
end

check_examples()

summarise("c", "C")
summarise("lua", "Lua")
print(string.format("%d problems, %d warnings", problems, warnings))
os.exit(problems == 0)
