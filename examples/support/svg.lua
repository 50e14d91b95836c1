--- A small plotter: panels with axes, a light grid, lines, areas and labels,
--- written as SVG. Sizes are in pixels; data are in the units of the axes.

local svg = {}

local FONT = "Inter, Helvetica, Arial, 'DejaVu Sans', sans-serif"
local INK, MUTED, GRID = "#222222", "#555555", "#e4e4e4"

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }

local function escape(text)
  return (text:gsub("[&<>]", ENTITIES))
end

-- Text with indices: "E_{1}" lowers, "nm^{-1}" raises. What follows is moved
-- back, so an index at the very end needs no more.
local function typeset(text)
  local shift = { ["_"] = 3, ["^"] = -5 }
  return (escape(text):gsub("([_^])(%b{})([^_^]*)", function(mark, index, rest)
    local index_span = ('<tspan dy="%d" font-size="75%%">%s</tspan>'):format(
      shift[mark], index:sub(2, -2))
    if rest == "" then return index_span end
    -- Renderers drop a space at the start of a span: move instead.
    return ('%s<tspan dx="%d" dy="%d">%s</tspan>'):format(index_span,
      rest:find "^ " and 4 or 0, -shift[mark], (rest:gsub("^ ", "")))
  end))
end

-- Attributes in a fixed order, so that the same picture is the same file.
local STYLE = {
  { "fill", "fill" },
  { "fill-opacity", "fill_opacity" },
  { "stroke", "colour" },
  { "stroke-width", "width" },
  { "stroke-dasharray", "dash" },
}

local function attributes(style)
  local parts = {}
  for _, name in ipairs(STYLE) do
    local value = style[name[2]]
    if value then
      parts[#parts + 1] = ('%s="%s"'):format(name[1], value)
    end
  end
  return table.concat(parts, " ")
end

---@class svg.text_style
---@field anchor? "start"|"middle"|"end"
---@field size? number pixels
---@field colour? string
---@field weight? string
---@field turn? number degrees, clockwise
---@field dx? number pixels, for text at a place of the data
---@field dy? number pixels, likewise

---@class svg.entry of a legend
---@field text string
---@field style table of a line; one with `fill` gives a box
---@field advance number pixels to the next entry

---@class svg.axes where a panel stands, in pixels, and what its axes show
---@field x number
---@field y number
---@field width number
---@field height number
---@field xrange number[]
---@field yrange number[]
---@field xstep number from tick to tick
---@field ystep number
---@field xformat string of the ticks' labels
---@field yformat string
---@field xlabel string
---@field ylabel string
---@field title string

---@class svg.figure
---@field parts string[]
local Figure = {}
Figure.__index = Figure

---@class svg.panel
---@field figure svg.figure
local Panel = {}
Panel.__index = Panel

function Figure:add(format, ...)
  self.parts[#self.parts + 1] = format:format(...)
end

--- Writes text at a place in pixels; `_{…}` and `^{…}` lower and raise.
---@param x number
---@param y number of the baseline
---@param text string
---@param style? svg.text_style
function Figure:text(x, y, text, style)
  style = style or {}
  local turn = style.turn
    and (' transform="rotate(%g %.1f %.1f)"'):format(style.turn, x, y) or ""
  self:add(
    '<text x="%.1f" y="%.1f" font-size="%g" font-weight="%s" fill="%s"'
      .. ' text-anchor="%s"%s>%s</text>',
    x, y, style.size or 13, style.weight or "normal", style.colour or INK,
    style.anchor or "start", turn, typeset(text))
end

--- Draws a row of legend entries, each a line or a box and its text.
---@param x number left end, pixels
---@param y number middle of the row, pixels
---@param entries svg.entry[]
function Figure:legend(x, y, entries)
  for _, entry in ipairs(entries) do
    if entry.style.fill then
      self:add('<rect x="%.1f" y="%.1f" width="26" height="12" %s/>',
        x, y - 6, attributes(entry.style))
    else
      self:add('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>',
        x, y, x + 26, y, attributes(entry.style))
    end
    self:text(x + 34, y + 4.5, entry.text)
    x = x + entry.advance
  end
end

--- Writes the picture to a file.
---@param path string
function Figure:write(path)
  local file = assert(io.open(path, "w"))
  assert(file:write(table.concat(self.parts, "\n"), "\n</svg>\n"))
  assert(file:close())
end

--- Starts a picture.
---@param width integer pixels
---@param height integer pixels
---@param title string what a screen reader says
---@return svg.figure
function svg.figure(width, height, title)
  local figure = setmetatable({ parts = {}, panels = 0 }, Figure)
  figure:add('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d"'
    .. ' viewBox="0 0 %d %d" role="img" font-family="%s">',
    width, height, width, height, FONT)
  figure:add("<title>%s</title>", escape(title))
  figure:add('<rect width="%d" height="%d" fill="#ffffff"/>', width, height)
  return figure
end

-- Data to pixels.
function Panel:at(x, y)
  local xr, yr = self.xrange, self.yrange
  return self.x + (x - xr[1]) / (xr[2] - xr[1]) * self.width,
    self.y + self.height - (y - yr[1]) / (yr[2] - yr[1]) * self.height
end

-- The points of a curve in pixels, as a path. Far outside the panel they are
-- left out; what is near is clipped.
function Panel:path(xs, ys)
  local parts = {}
  local margin = 0.2 * (self.xrange[2] - self.xrange[1])
  for i = 1, #xs do
    if xs[i] > self.xrange[1] - margin and xs[i] < self.xrange[2] + margin then
      parts[#parts + 1] = ("%.2f %.2f"):format(self:at(xs[i], ys[i]))
    end
  end
  return "M" .. table.concat(parts, "L")
end

--- Draws a line through points.
---@param xs number[]
---@param ys number[]
---@param style { colour: string, width: number?, dash: string? }
function Panel:line(xs, ys, style)
  self.figure:add('<path clip-path="url(#%s)" fill="none" '
    .. 'stroke-linejoin="round" d="%s" %s/>',
    self.id, self:path(xs, ys), attributes(style))
end

--- Fills what lies between a curve and a level.
---@param xs number[]
---@param ys number[]
---@param level number
---@param style { fill: string, fill_opacity: number? }
function Panel:area(xs, ys, level, style)
  local _, base = self:at(0, level)
  local first = self:at(xs[1], level)
  local last = self:at(xs[#xs], level)
  self.figure:add('<path clip-path="url(#%s)" d="%sL%.2f %.2fL%.2f %.2fZ" %s/>',
    self.id, self:path(xs, ys), last, base, first, base, attributes(style))
end

--- Writes text at a place of the data.
---@param x number
---@param y number
---@param text string
---@param style? svg.text_style
function Panel:text(x, y, text, style)
  style = style or {}
  local px, py = self:at(x, y)
  self.figure:text(px + (style.dx or 0), py + (style.dy or 0), text, style)
end

local function tick_label(format, value)
  return (format:format(value):gsub("^%-", "−"))
end

-- The positions of ticks: multiples of a step within a range.
local function ticks(range, step)
  local list = {}
  for i = math.ceil(range[1] / step - 1e-9), range[2] / step + 1e-9 do
    list[#list + 1] = i * step
  end
  return list
end

local function draw_x_ticks(panel, spec)
  local figure, bottom = panel.figure, panel.y + panel.height
  for _, value in ipairs(ticks(panel.xrange, spec.xstep)) do
    local x = panel:at(value, 0)
    figure:add('<path d="M%.2f %.2fV%.2f" stroke="%s"/>',
      x, panel.y, bottom, GRID)
    figure:add('<path d="M%.2f %.2fv5" stroke="%s"/>', x, bottom, INK)
    figure:text(x, bottom + 20, tick_label(spec.xformat, value),
      { anchor = "middle", size = 12 })
  end
end

local function draw_y_ticks(panel, spec)
  local figure = panel.figure
  for _, value in ipairs(ticks(panel.yrange, spec.ystep)) do
    local _, y = panel:at(0, value)
    figure:add('<path d="M%.2f %.2fH%.2f" stroke="%s"/>',
      panel.x, y, panel.x + panel.width, GRID)
    figure:add('<path d="M%.2f %.2fh-5" stroke="%s"/>', panel.x, y, INK)
    figure:text(panel.x - 10, y + 4, tick_label(spec.yformat, value),
      { anchor = "end", size = 12 })
  end
end

-- The grid, the ticks and the names of the axes.
local function draw_axes(panel, spec)
  local figure = panel.figure
  draw_x_ticks(panel, spec)
  draw_y_ticks(panel, spec)
  figure:text(panel.x + panel.width / 2, panel.y + panel.height + 42,
    spec.xlabel, { anchor = "middle" })
  figure:text(panel.x - 50, panel.y + panel.height / 2, spec.ylabel,
    { anchor = "middle", turn = -90 })
  figure:text(panel.x, panel.y - 12, spec.title, { weight = "600", size = 14 })
end

--- Adds a panel with its axes to a picture.
---@param spec svg.axes
---@return svg.panel
function Figure:panel(spec)
  self.panels = self.panels + 1
  local id = "panel" .. self.panels
  local panel = setmetatable({ figure = self, id = id }, Panel)
  for _, name in ipairs { "x", "y", "width", "height", "xrange", "yrange" } do
    panel[name] = spec[name]
  end
  self:add('<clipPath id="%s"><rect x="%g" y="%g" width="%g" height="%g"/>'
    .. "</clipPath>", panel.id, panel.x, panel.y, panel.width, panel.height)
  draw_axes(panel, spec)
  return panel
end

--- Draws the frame of a panel, over what it holds.
function Panel:frame()
  self.figure:add('<rect x="%g" y="%g" width="%g" height="%g" fill="none"'
    .. ' stroke="%s"/>', self.x, self.y, self.width, self.height, MUTED)
end

return svg
