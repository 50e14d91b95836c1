--- `make bench-compare OLD=file [NEW=file]`: ratios of two files of results.
---
---     lua5.4 bench/compare.lua OLD NEW
---
--- A ratio above 1 is an improvement. What goes beyond noise, which is 1.3 or
--- the spread that either run had, is marked.

local catalogue = require "catalogue"
local report = require "support.report"
local results = require "support.results"
local stats = require "support.stats"

local function mark(ratio, old, new)
  local change = ratio > 1 and ratio or 1 / ratio
  if change <= stats.NOISE then return "" end
  local word = ratio > 1 and "better" or "WORSE"
  if change <= math.max(old.spread, new.spread) then
    return word .. ", within the spread"
  end
  return word
end

-- Values may be 0 or below; there is no ratio then.
local function print_change(row, measure, old, new)
  if not old.median or not new.median then return end
  local words, ratio = "", 0
  if old.median > 0 and new.median > 0 then
    ratio = report.better(measure, new.median, old.median)
    words = mark(ratio, old, new)
  end
  local line = ("%-11s %-34s %-18s %11s %11s %7.2f  %s"):format(row.name,
    measure.title, new.who, report.value(old.median, measure.unit),
    report.value(new.median, measure.unit), ratio, words)
  print((line:gsub("%s+$", "")))
end

local function main(old_path, new_path)
  if not old_path or old_path == "" then
    error("which results to compare with? OLD=file", 0)
  end
  local old, new = results.load(old_path), results.load(new_path)
  print(("old: %s, %s, load %s"):format(old.when, old.machine.processor,
    old.machine.load))
  print(("new: %s, %s, load %s"):format(new.when, new.machine.processor,
    new.machine.load))
  if old.quick ~= new.quick or old.workers ~= new.workers then
    print "these were not run alike: sizes or workers differ"
  end
  for _, row in ipairs(catalogue) do
    for _, measure in ipairs(row) do
      for _, figure in ipairs(new.figures) do
        if figure.row == row.name and figure.measure == measure.id then
          local before = results.find(old, row.name, measure.id, figure.who)
          if before then print_change(row, measure, before, figure) end
        end
      end
    end
  end
end

local ok, err = pcall(main, arg[1], arg[2])
if not ok then io.stderr:write(tostring(err), "\n") end
os.exit(ok)
