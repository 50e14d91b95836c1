--- `make bench-counts`: instructions for each of a thing, under callgrind.
--- Counts do not wobble as times do: a difference of a per cent is one.
---
---     lua5.4 bench/counts.lua COMMAND BUILD
---
--- Each case runs twice, with few and with many; the difference has no
--- start-up in it. Counts go to BUILD/bench/counts.lua; when that is there
--- from before, the change is printed too.

local results = require "support.results"
local shell = require "support.shell"

local command, build = arg[1], arg[2] .. "/bench"

-- Case, how many at first, how many more, and its words.
local CASES = {
  { "loop", 10000, 20000, "plain loop, an item" },
  { "fake_map", 10000, 20000, "FakePool map, an item" },
  { "fake_map_limit", 10000, 20000, "... with a time limit" },
  { "fake_map_chunk1", 10000, 20000, "... chunksize 1" },
  { "fake_map_fails", 1000, 2000, "... that fails, collected" },
  { "fake_apply", 1000, 2000, "FakePool apply, a call" },
  { "chunk", 10000, 20000, "a chunk claimed, one thread" },
  { "kernel_call", 1000, 2000, "a kernel called from Lua" },
  { "element", 10000, 20000, "an array element read from Lua" },
  { "pack_floats", 10000, 20000, "encode a float of a table" },
  { "unpack_floats", 10000, 20000, "decode it" },
  { "pack_integers", 10000, 20000, "encode an integer" },
  { "unpack_integers", 10000, 20000, "decode it" },
  { "pack_strings", 10000, 20000, "encode a short string" },
  { "unpack_strings", 10000, 20000, "decode it" },
  { "pack_records", 10000, 20000, "encode a record of two fields and a list" },
  { "unpack_records", 10000, 20000, "decode it" },
}

local function instructions(name, times)
  local lines = shell.lines(("valgrind --tool=callgrind "
    .. "--callgrind-out-file=/dev/null %s bench/counts/cases.lua %s %d 2>&1")
    :format(shell.quote(command), name, times))
  for _, line in ipairs(lines) do
    local count = line:match "Collected : (%d+)"
    if count then return tonumber(count) end
  end
  error(("%s: %s"):format(name, table.concat(lines, "\n")), 0)
end

local function load_before(path)
  local ok, data = pcall(results.load, path)
  local counts = {}
  for _, figure in ipairs(ok and data.figures or {}) do
    counts[figure.measure] = figure.median
  end
  return counts
end

local function main()
  local path = build .. "/counts.lua"
  local before, data = load_before(path), { figures = {} }
  for _, case in ipairs(CASES) do
    local name, few, more, words = table.unpack(case)
    local each = (instructions(name, few + more) - instructions(name, few))
      / more
    local was, change = before[name], ""
    if was then change = ("%+6.1f %%"):format((each / was - 1) * 100) end
    print((("%-42s %9.1f  %s"):format(words, each, change)
      :gsub("%s+$", "")))
    table.insert(data.figures, { row = "counts", measure = name,
                                 who = "tidemill", median = each })
  end
  results.save(path, data)
end

if not shell.succeeds "valgrind --version" then
  print "valgrind is not installed: apt-get install valgrind"
  os.exit(true)
end
io.stdout:setvbuf "line"
os.execute("mkdir -p " .. shell.quote(build))
local ok, err = pcall(main)
if not ok then io.stderr:write(tostring(err), "\n") end
os.exit(ok)
