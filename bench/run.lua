--- `make bench`: runs our programs and the peers', one after the other and
--- round after round, and prints medians.
---
---     lua5.4 bench/run.lua COMMAND BUILD [row...]
---
--- COMMAND is the tidemill command. Compiled programs, logs and results.lua go
--- to BUILD/bench. BENCH_QUICK=1 is short, BENCH_ROUNDS and BENCH_WORKERS are
--- numbers.

local catalogue = require "catalogue"
local peers = require "peers"
local report = require "support.report"
local results = require "support.results"
local shell = require "support.shell"

local command, build = arg[1], arg[2] .. "/bench"
local quick = os.getenv "BENCH_QUICK" == "1"
local rounds = tonumber(os.getenv "BENCH_ROUNDS") or quick and 3 or 5
local LIMIT <const> = 120 -- seconds that one program may take

---@class bench.program
---@field name string "tidemill", or the peer's
---@field ours boolean
---@field line? string the command line
---@field log string what it says on stderr
---@field why? string it cannot run

-- ---- programs -------------------------------------------------------------

local COMPILERS = { c = "cc -std=gnu11", cpp = "c++ -std=c++17" }

-- Compiles a program of a peer; nil when that fails.
local function compile(source, peer, out, log)
  local parts = {
    COMPILERS[source:match "%.(%w+)$"], "-O2 -g -D_GNU_SOURCE -Ibench/support",
    peer.cflags or "", shell.quote(source), "-o", shell.quote(out),
    peer.libs or "", "2>" .. shell.quote(log)
  }
  local ok = os.execute(table.concat(parts, " "))
  return ok and shell.quote(out) or nil
end

---@return bench.program
local function program_of(row, path)
  local file = path:match "([^/]+)$"
  local name, extension = file:match "^peer_(.+)%.(%w+)$"
  local stem = ("%s/%s-%s"):format(build, row, name or "ours")
  local log = stem .. ".log"
  if not name then
    return { name = "tidemill", ours = true, log = log,
             line = shell.quote(command) .. " " .. path }
  end
  local peer = peers.list[name]
  local program = { name = name, ours = false, log = log }
  if not peers.installed(name) then
    program.why = "not installed: " .. peer.package
  elseif COMPILERS[extension] then
    program.line = compile(path, peer, stem, log)
  else
    local run = peer.run == "" and shell.quote(command) or peer.run
    program.line = run .. " " .. path
  end
  if not program.line then program.why = program.why or "see " .. log end
  return program
end

---@return bench.program[]
local function programs_of(row)
  local list = {}
  local paths = shell.lines("ls bench/rows/" .. row .. "/*.*")
  for _, path in ipairs(paths) do
    if path:find "/ours%." or path:find "/peer_" then
      list[#list + 1] = program_of(row, path)
    end
  end
  return list
end

-- ---- one round --------------------------------------------------------------

local function figure_for(data, row, id, who, ours)
  local figure = results.find(data, row, id, who)
  if not figure then
    figure = { row = row, measure = id, who = who, ours = ours,
               samples = {}, place = #data.figures }
    table.insert(data.figures, figure)
  end
  return figure
end

local function is_pool(who)
  return who == "" or who == "threads" or who == "processes" or who == "fake"
end

-- Takes what a program printed; answers whether there was anything.
local function take(data, row, program, lines)
  local found = false
  for _, line in ipairs(lines) do
    local id, who, value = line:match "^([%w!]+)\t([^\t]*)\t(%S+)$"
    if id == "!" then
      program.why = "not installed: " .. value
      return true
    elseif id then
      found = true
      local figure = figure_for(data, row, id,
        who ~= "" and who or program.name, program.ours and is_pool(who))
      local number = tonumber(value)
      figure.why = not number and "not built" or nil
      table.insert(figure.samples, number)
    end
  end
  return found
end

local function run(data, row, program)
  local lines, ok = shell.lines(("timeout -k 5 %d %s 2>%s </dev/null"):format(
    LIMIT, program.line, shell.quote(program.log)))
  if not take(data, row, program, lines) or not ok then
    program.why = "failed: see " .. program.log
  end
end

-- Every other round goes the other way, so that nobody is always first.
local function run_rounds(data, row, programs)
  for round = 1, rounds do
    for i = 1, #programs do
      local program = programs[round % 2 == 1 and i or #programs + 1 - i]
      if not program.why then run(data, row, program) end
    end
  end
end

-- ---- rows -------------------------------------------------------------------

local function figures_of(data, row, id)
  local list = {}
  for _, figure in ipairs(data.figures) do
    if figure.row == row and figure.measure == id then
      list[#list + 1] = figure
    end
  end
  return list
end

-- Runs a row and prints it; answers whether ours ran well.
local function run_row(data, row)
  print(("\n%s: %s"):format(row.name, row.title))
  local programs, well = programs_of(row.name), true
  run_rounds(data, row.name, programs)
  for _, figure in ipairs(data.figures) do
    if figure.row == row.name then results.finish(figure) end
  end
  for _, measure in ipairs(row) do
    local list = figures_of(data, row.name, measure.id)
    if #list > 0 then report.measure(measure, list) end
  end
  for _, program in ipairs(programs) do
    if program.why then
      print(("  %s: %s"):format(program.name, program.why))
      well = well and not program.ours
    end
  end
  return well
end

local function load_average()
  return (shell.first_line "/proc/loadavg" or "?"):match "^%S+"
end

local function processor()
  for line in io.lines "/proc/cpuinfo" do
    local name = line:match "^model name%s*:%s*(.+)"
    if name then return name end
  end
  return "unknown"
end

local function chosen_rows()
  local wanted, list = {}, {}
  for i = 3, #arg do wanted[arg[i]] = true end
  for _, row in ipairs(catalogue) do
    if #arg < 3 or wanted[row.name] then list[#list + 1] = row end
    wanted[row.name] = nil
  end
  local unknown = next(wanted)
  if unknown then
    local names = {}
    for i, row in ipairs(catalogue) do names[i] = row.name end
    error(("no row '%s' (rows: %s)"):format(unknown,
      table.concat(names, " ")), 0)
  end
  return list
end

local function begin()
  local machine = { processor = processor(), load = load_average(),
                    kernel = shell.lines("uname -r")[1] }
  local data = { when = os.date "%Y-%m-%d %H:%M:%S", machine = machine,
                 quick = quick, rounds = rounds,
                 workers = tonumber(os.getenv "BENCH_WORKERS"), figures = {} }
  print(("%s, Linux %s, load %s; %d workers, %d rounds"):format(
    machine.processor, machine.kernel, machine.load, data.workers, rounds))
  return data
end

local function main()
  local rows = chosen_rows()
  os.execute("mkdir -p " .. shell.quote(build))
  local data, well = begin(), true
  report.head()
  for _, row in ipairs(rows) do
    well = run_row(data, row) and well
  end
  local path = build .. "/results.lua"
  results.save(path, data)
  print(("\nload %s at the end; results in %s"):format(load_average(), path))
  return well
end

io.stdout:setvbuf "line"
local ok, well = pcall(main)
if not ok then io.stderr:write(tostring(well), "\n") end
os.exit(ok and well)
