-- Runs the tests and adds up what they say.
--
--   lua5.4 tools/test.lua BUILD HOST [test or spec...]
--
-- Every C test (BUILD/test/test_*) and every spec is a process of its own,
-- so that one which crashes or hangs is one failure and the others still
-- run. Specs run in HOST, with TIDEMILL set to the command that was built.
-- Each process ends its output with "N passed, N failed"; that of failing
-- ones is shown, and all of it stays in BUILD/test/*.log.

local TIME_LIMIT = "600"

local build, host = arg[1], arg[2]
local chosen = table.move(arg, 3, #arg, 1, {})

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function lines_of(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  return lines
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read("a")
  file:close()
  return text
end

local here = lines_of("pwd")[1]
local root = build:sub(1, 1) == "/" and build or here .. "/" .. build
local command = root .. "/tidemill"
local module_path = root .. "/?.so"
local reports = root .. "/test/report"

-- Sanitizers write to files, so that what a child process or an exiting
-- worker has to say is seen too.
local environment = {
  "TIDEMILL=" .. quote(command),
  "LUA_CPATH=" .. quote(module_path .. ";;"),
  "LUA_PATH=" .. quote("./?.lua;;"),
  "ASAN_OPTIONS=" .. quote("detect_leaks=1:log_path=" .. reports),
  "UBSAN_OPTIONS=" .. quote("print_stacktrace=1:log_path=" .. reports),
  "TSAN_OPTIONS=" .. quote("second_deadlock_stack=1:log_path=" .. reports),
}

-- The suites: { name, command line }.
local function spec_suite(path)
  local line = { quote(host), "tools/busted.lua", "--cpath",
                 quote(module_path), "--output=tools/busted_output.lua",
                 quote(path) }
  return { name = path, line = table.concat(line, " ") }
end

local function c_suite(source)
  local name = source:match("([^/]+)%.c$")
  return { name = source, line = quote(build .. "/test/" .. name) }
end

local function find_suites()
  local suites = {}
  local paths = chosen
  if #paths == 0 then
    paths = lines_of("find spec -path 'spec/c/test_*.c' " ..
                     "-o -name '*_spec.lua' | LC_ALL=C sort")
  end
  for i, path in ipairs(paths) do
    suites[i] = path:find("%.c$") and c_suite(path) or spec_suite(path)
  end
  return suites
end

local function run(suite)
  suite.log = build .. "/test/" .. suite.name:gsub("[/.]", "_") .. ".log"
  local line = table.concat(environment, " ") .. " timeout --foreground -k 5 "
    .. TIME_LIMIT .. " " .. suite.line .. " >" .. quote(suite.log)
    .. " 2>&1 </dev/null"
  local start = os.time()
  local _, how, code = os.execute(line)
  suite.seconds = os.difftime(os.time(), start)
  if how == "signal" or code == 130 then os.exit(130) end
  return code
end

local function take_reports()
  local texts = {}
  for i, path in ipairs(lines_of("ls " .. quote(reports) .. ".*")) do
    texts[i] = read(path)
    os.remove(path)
  end
  return texts
end

-- Why a suite failed although no test of it did; nil when it is well.
local function complaint(code, found, failed, sanitizer_texts)
  if code == 124 or code == 137 then
    return "ran for more than " .. TIME_LIMIT .. " s, or was killed"
  elseif code > 128 then
    return "died of signal " .. code - 128
  elseif not found then
    return "ended without a result, status " .. code
  elseif code ~= 0 and failed == 0 then
    return "ended with status " .. code
  elseif #sanitizer_texts > 0 and failed == 0 then
    return "a sanitizer reported"
  end
end

local function show(suite, text, sanitizer_texts)
  for line in text:gmatch("[^\n]+") do
    if not line:find(" %.%.%. ok$") then print("    " .. line) end
  end
  for _, report in ipairs(sanitizer_texts) do
    print("    " .. report:gsub("\n", "\n    "))
  end
  print("    (all of it: " .. suite.log .. ")")
end

local function judge(suite)
  local code = run(suite)
  local text = read(suite.log)
  local sanitizer_texts = take_reports()
  local passed, failed = text:match("(%d+) passed, (%d+) failed%s*$")
  local found = passed ~= nil
  if not found then
    passed = select(2, text:gsub(" %.%.%. ok\n", ""))
    failed = select(2, text:gsub(" %.%.%. FAILED\n", ""))
  end
  passed, failed = math.tointeger(passed), math.tointeger(failed)
  local why = complaint(code, found, failed, sanitizer_texts)
  if why then failed = failed + 1 end
  print(string.format("%s %-32s %4d passed, %d failed  %3.0f s%s",
                      failed == 0 and "ok  " or "FAIL", suite.name, passed,
                      failed, suite.seconds, why and "  " .. why or ""))
  if failed > 0 then show(suite, text, sanitizer_texts) end
  return passed, failed
end

io.stdout:setvbuf("line")
take_reports()
os.execute("mkdir -p " .. quote(build .. "/test"))
local passed, failed = 0, 0
for _, suite in ipairs(find_suites()) do
  local p, f = judge(suite)
  passed, failed = passed + p, failed + f
end
if passed + failed == 0 then
  print("no tests were found")
  failed = 1
end
print(string.format("%d passed, %d failed", passed, failed))
os.exit(failed == 0)
