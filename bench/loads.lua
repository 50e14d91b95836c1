--- `make bench-loads`: loads at the ends of what is usual, each in a process
--- of its own with a time limit, at a size and at four times that size.
---
---     lua5.4 bench/loads.lua COMMAND [case...]
---
--- A hang, a crash, a wrong result or a cost that grows faster than the size
--- is marked; then the exit status is 1. The last part prints bytes for each
--- queued item, worker and pool.

local shell = require "support.shell"

local command = arg[1]
local quick = os.getenv "BENCH_QUICK" == "1"
local LIMIT <const> = 300 -- seconds
local GROWTH <const> = 2.5 -- of the cost of one; 1 is linear

-- Case, items, its words; memory cases have what they count.
local CASES = {
  { "tiny", 250000, "map of numbers, default chunks" },
  { "one_by_one", 50000, "map, chunksize 1" },
  { "small_maps", 2500, "maps of 4 items, one after the other" },
  { "async", 250000, "apply_async, then get" },
  { "async_callback", 25000, "apply_async with callbacks" },
  { "async_maps", 10000, "map_async of 2 items, then get" },
  { "imap", 25000, "imap" },
  { "imap_unordered", 100000, "imap_unordered, chunks of 100" },
  { "failures", 2500, "items that fail, collected" },
  { "strings", 50000, "strings of 100 bytes, there and back" },
  { "tables", 25000, "results that are tables" },
  { "store", 500, "an update of the store and a read" },
  { "huge", 4, "strings of 16 MB, there and back" },
  { "mixed", 500, "1 in 100 takes 10000 times as long" },
  { "long_tail", 20000, "4 long items at the end" },
  { "nested", 100, "items that run a map themselves" },
  { "pools", 50, "pools of 2 workers, made and ended" },
  { "busy_cpu", 500, "calls, one by one, beside a busy process" },
}

local MEMORY = {
  { "queued_calls", 100000, "a queued apply_async" },
  { "queued_range", 1000000, "a queued item of a map over a range" },
  { "queued_numbers", 1000000, "a queued item of a map over a table" },
  { "worker", 16, "a worker" },
  { "module_worker", 16, "a worker whose tasks use the module" },
  { "pool", 16, "a pool of one worker" },
}

local well = true

local function run(case, kind, n)
  local log = os.tmpname()
  local lines, ok = shell.lines(("timeout -k 5 %d %s bench/loads/cases.lua"
    .. " %s %s %d 2>%s"):format(LIMIT, shell.quote(command), case, kind, n,
    log))
  local values = {}
  for _, line in ipairs(lines) do
    local name, value = line:match "^(%w+)\t(%S+)$"
    if name then values[name] = tonumber(value) end
  end
  if not ok then
    values.failed = shell.first_line(log) or "crashed, or took too long"
    well = false
  end
  os.remove(log)
  return values
end

local function kinds()
  local list = { "fake", "thread" }
  local probe = "require 'tidemill'.Pool{kind='process',workers=1}"
  local file = os.tmpname()
  local out <close> = assert(io.open(file, "w"))
  out:write(probe)
  out:flush()
  if shell.succeeds(shell.quote(command) .. " " .. file) then
    list[3] = "process"
  end
  os.remove(file)
  return list
end

local function time_text(seconds)
  if seconds < 1e-6 then return ("%.0f ns"):format(seconds * 1e9) end
  if seconds < 1e-3 then return ("%.1f us"):format(seconds * 1e6) end
  return ("%.1f ms"):format(seconds * 1e3)
end

local function print_load(case, kind)
  local name, n, words = table.unpack(case)
  if quick then n = math.max(2, n // 5) end
  local small, large = run(name, kind, n), run(name, kind, 4 * n)
  local head = ("%-42s %-8s %8d"):format(words, kind, 4 * n)
  local failed = small.failed or large.failed
  if failed then
    print(("%s  FAILED: %s"):format(head, failed))
    return
  end
  local growth = large.seconds / small.seconds / 4
  local superlinear = growth > GROWTH and small.seconds > 0.01
  well = well and not superlinear
  print(("%s %10s %6.2f %9.1f MiB%s%s"):format(head,
    time_text(large.seconds / (4 * n)), growth, large.peak / 2 ^ 20,
    large.speedup and ("   speed-up %.2f"):format(large.speedup) or "",
    superlinear and "   GROWS FASTER THAN ITS SIZE" or ""))
end

local function print_memory(case, kind)
  local name, n, words = table.unpack(case)
  local values = run(name, kind, n)
  local bytes = values.bytes
  print(("%-42s %-8s %s"):format(words, kind, not bytes
    and "FAILED: " .. tostring(values.failed)
    or bytes > 1e4 and ("%.0f KiB"):format(bytes / 1024)
    or ("%.0f bytes"):format(bytes)))
end

local function chosen(name)
  if #arg == 1 then return true end
  for i = 2, #arg do
    if arg[i] == name then return true end
  end
  return false
end

io.stdout:setvbuf "line"
local all = kinds()
print(("%-42s %-8s %8s %10s %6s %13s"):format("", "pool", "items", "an item",
  "growth", "peak"))
for _, case in ipairs(CASES) do
  for _, kind in ipairs(all) do
    if chosen(case[1]) then print_load(case, kind) end
  end
end
for _, case in ipairs(MEMORY) do
  for _, kind in ipairs(all) do
    if kind ~= "fake" and chosen(case[1]) then print_memory(case, kind) end
  end
end
os.exit(well)
