--- A plot with logarithmic axes, as SVG: lines with points, a legend, a grid
--- of decades.

local plot = {}

local WIDTH, HEIGHT = 720, 460
local LEFT, RIGHT, TOP, BOTTOM = 78, 190, 52, 62
local FONT = "Inter, Helvetica, Arial, 'DejaVu Sans', sans-serif"
local INK, MUTED, GRID = "#222222", "#555555", "#e4e4e4"

-- Okabe and Ito's colours, which stay apart for colour-blind eyes, and a
-- mark for each, for those that print in grey.
local STYLES = {
  { "#000000", "circle" }, { "#0072B2", "square" }, { "#D55E00", "diamond" },
  { "#009E73", "triangle" }, { "#CC79A7", "cross" }, { "#E69F00", "circle" },
}

---@class plot.series
---@field name string
---@field points number[][] { x, y }, both above 0
---@field style? integer of the colours; its place unless given

---@class plot.spec
---@field title string
---@field xlabel string
---@field ylabel string
---@field xbase? integer of the x axis, 10 unless given
---@field xunit? table<integer, string> labels of powers of ten
---@field yunit? table<integer, string>
---@field series plot.series[]
---@field level? number a line across, with level_text
---@field level_text? string

--- Seconds as labels of powers of ten.
plot.SECONDS = {}
for power = -12, 3 do
  local names = { [-4] = "ps", [-3] = "ns", [-2] = "µs", [-1] = "ms",
                  [0] = "s" }
  local group = math.min(power // 3, 0)
  plot.SECONDS[power] = ("%d %s"):format(10 ^ (power - 3 * group), names[group])
end

--- Bytes likewise, in the decimal units.
plot.BYTES = {}
for power = 0, 12 do
  local names = { [0] = "B", "kB", "MB", "GB", "TB" }
  plot.BYTES[power] = ("%d %s"):format(10 ^ (power % 3), names[power // 3])
end

local function escape(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;",
                               [">"] = "&gt;" }))
end

-- The whole decades (powers of a base) that hold all values of a coordinate.
local function decades(spec, which, base)
  local least, most = math.huge, -math.huge
  for _, series in ipairs(spec.series) do
    for _, point in ipairs(series.points) do
      least = math.min(least, point[which])
      most = math.max(most, point[which])
    end
  end
  if which == 2 and spec.level then
    least, most = math.min(least, spec.level), math.max(most, spec.level)
  end
  local low = math.floor(math.log(least, base) + 1e-9)
  local high = math.ceil(math.log(most, base) - 1e-9)
  return low, math.max(high, low + 1)
end

-- From data to pixels.
local function scales(spec)
  local base = spec.xbase or 10
  local x0, x1 = decades(spec, 1, base)
  local y0, y1 = decades(spec, 2, 10)
  local width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
  local function at_x(x)
    return LEFT + (math.log(x, base) - x0) / (x1 - x0) * width
  end
  local function at_y(y)
    return TOP + height - (math.log(y, 10) - y0) / (y1 - y0) * height
  end
  return { base = base, x0 = x0, x1 = x1, y0 = y0, y1 = y1, x = at_x, y = at_y }
end

local function label(unit, power, base)
  if unit and unit[power] then return unit[power] end
  if base and base ~= 10 then return ("%d"):format(base ^ power) end
  if power >= 0 and power <= 4 then return ("%d"):format(10 ^ power) end
  return ('10<tspan dy="-5" font-size="75%%">%s</tspan>'):format(
    (tostring(power):gsub("^-", "−")))
end

local function text(add, x, y, words, anchor, extra)
  add('<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s"%s>%s</text>', x, y,
    anchor, INK, extra or "", words)
end

-- Every decade has a line; where there are many, every second a label.
local function draw_grid(add, spec, s)
  local bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
  local xstep = s.x1 - s.x0 > 8 and 2 or 1
  for power = s.x0, s.x1 do
    local x = s.x((s.base + 0.0) ^ power)
    add('<path d="M%.1f %dV%d" stroke="%s"/>', x, TOP, bottom, GRID)
    if (power - s.x0) % xstep == 0 then
      text(add, x, bottom + 20, label(spec.xunit, power, s.base),
        power == s.x1 and s.base == 10 and "end" or "middle")
    end
  end
  for power = s.y0, s.y1 do
    local y = s.y(10.0 ^ power)
    add('<path d="M%d %.1fH%d" stroke="%s"/>', LEFT, y, right, GRID)
    text(add, LEFT - 8, y + 4, label(spec.yunit, power), "end")
  end
  add('<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="%s"/>',
    LEFT, TOP, right - LEFT, bottom - TOP, MUTED)
end

local function draw_names(add, spec)
  local middle = (LEFT + WIDTH - RIGHT) / 2
  text(add, LEFT, TOP - 22, escape(spec.title), "start",
    ' font-size="15" font-weight="600"')
  text(add, middle, HEIGHT - 16, escape(spec.xlabel), "middle")
  local y = (TOP + HEIGHT - BOTTOM) / 2
  text(add, 18, y, escape(spec.ylabel), "middle",
    (' transform="rotate(-90 18 %.1f)"'):format(y))
end

local MARKS = {
  circle = '<circle cx="%g" cy="%g" r="3.5" fill="%s"/>',
  square = '<path d="M%g %gm-3.2 -3.2h6.4v6.4h-6.4z" fill="%s"/>',
  diamond = '<path d="M%g %gm0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z" fill="%s"/>',
  triangle = '<path d="M%g %gm0 -4.2l4.2 7.4h-8.4z" fill="%s"/>',
  cross = '<path d="M%g %gm-3.5 -3.5l7 7m0 -7l-7 7" stroke="%s"'
    .. ' stroke-width="2"/>',
}

local function mark(add, x, y, style)
  add(MARKS[style[2]], ("%.1f"):format(x) + 0, ("%.1f"):format(y) + 0, style[1])
end

local function draw_series(add, series, style, s)
  local path = {}
  for i, point in ipairs(series.points) do
    path[i] = ("%.1f %.1f"):format(s.x(point[1]), s.y(point[2]))
  end
  add('<path d="M%s" fill="none" stroke="%s" stroke-width="1.8"'
    .. ' stroke-linejoin="round"/>', table.concat(path, "L"), style[1])
  for _, point in ipairs(series.points) do
    mark(add, s.x(point[1]), s.y(point[2]), style)
  end
end

local function draw_legend(add, spec)
  local x, y = WIDTH - RIGHT + 16, TOP + 12
  for i, series in ipairs(spec.series) do
    local style = STYLES[series.style or i]
    add('<path d="M%d %dh22" stroke="%s" stroke-width="1.8"/>', x, y, style[1])
    mark(add, x + 11, y, style)
    text(add, x + 29, y + 4, escape(series.name), "start")
    y = y + 22
  end
end

local function draw_level(add, spec, s)
  if not spec.level then return end
  local y = s.y(spec.level)
  add('<path d="M%d %.1fH%d" stroke="%s" stroke-dasharray="5 4"/>', LEFT, y,
    WIDTH - RIGHT, INK)
  text(add, WIDTH - RIGHT - 6, y - 6, escape(spec.level_text or ""), "end",
    ' font-size="12"')
end

--- Writes a plot to a file. Series without points are left out.
---@param path string
---@param spec plot.spec
function plot.write(path, spec)
  local parts = {}
  local function add(format, ...) parts[#parts + 1] = format:format(...) end
  local drawn = {}
  for i, series in ipairs(spec.series) do
    series.style = series.style or i
    if #series.points > 0 then drawn[#drawn + 1] = series end
  end
  spec.series = drawn
  local s = scales(spec)
  add('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d"'
    .. ' viewBox="0 0 %d %d" role="img" font-family="%s" font-size="13">',
    WIDTH, HEIGHT, WIDTH, HEIGHT, FONT)
  add("<title>%s</title>", escape(spec.title))
  add('<rect width="%d" height="%d" fill="#ffffff"/>', WIDTH, HEIGHT)
  draw_grid(add, spec, s)
  draw_level(add, spec, s)
  for _, series in ipairs(spec.series) do
    draw_series(add, series, STYLES[series.style], s)
  end
  draw_legend(add, spec)
  draw_names(add, spec)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(table.concat(parts, "\n"), "\n</svg>\n"))
end

return plot
