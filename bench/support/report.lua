--- Figures as text: units, and the table that `make bench` prints.

local report = {}

local SCALES = {
  ns = 1e9, us = 1e6, ms = 1e3, x = 1, ["%"] = 1, MiB = 1 / 2 ^ 20
}

--- A value in its unit, with three digits.
---@param value number
---@param unit string
---@return string
function report.value(value, unit)
  local scaled = value * SCALES[unit]
  local size = math.abs(scaled)
  local format = size >= 100 and "%.0f" or size >= 10 and "%.1f"
    or size >= 0.1 and "%.2f" or "%.3f"
  return (format .. " %s"):format(scaled, unit)
end

--- How many times better one value is than another.
---@param measure bench.measure
---@param this number
---@param other number
---@return number
function report.better(measure, this, other)
  if measure.more then return this / other end
  return other / this
end

local function goal_of(measure, figure)
  local goal = measure.goal
  if type(goal) == "table" then goal = goal[figure.who] end
  if not figure.ours or not goal then return nil end
  return goal / SCALES[measure.unit]
end

--- What is wanted of a figure, and whether it is there; "" without a goal.
---@param measure bench.measure
---@param figure bench.figure
---@return string
function report.goal(measure, figure)
  local goal = goal_of(measure, figure)
  if not goal then return "" end
  local reached = measure.more and figure.median >= goal
    or not measure.more and figure.median <= goal
  return ("%s %s%s"):format(measure.more and ">=" or "<=",
    report.value(goal, measure.unit), reached and "" or "  missed")
end

-- Ours that others are measured by: the first with a value.
local function reference(figures)
  for _, figure in ipairs(figures) do
    if figure.ours and figure.median then return figure end
  end
end

local function print_figure(measure, figure, base)
  if not figure.median then
    print(("    %-20s %12s"):format(figure.who, figure.why or "no figure"))
    return
  end
  local ratio = ""
  if base and base ~= figure then
    ratio = ("%.2f"):format(
      report.better(measure, base.median, figure.median))
  end
  local line = ("    %-20s %12s %7.2f %9s   %s"):format(figure.who,
    report.value(figure.median, measure.unit), figure.spread, ratio,
    report.goal(measure, figure))
  print((line:gsub("%s+$", "")))
end

--- Prints the figures of one measure, ours first.
---@param measure bench.measure
---@param figures bench.figure[]
function report.measure(measure, figures)
  table.sort(figures, function(a, b)
    if a.ours ~= b.ours then return a.ours end
    return a.place < b.place
  end)
  print("  " .. measure.title)
  local base = reference(figures)
  for _, figure in ipairs(figures) do print_figure(measure, figure, base) end
end

--- Prints the head of the table.
function report.head()
  print(("%-24s %12s %7s %9s   %s"):format("", "median", "spread",
    "ours is", "goal"))
  print(("%-24s %12s %7s %9s"):format("", "", "max/min", "x better"))
end

return report
