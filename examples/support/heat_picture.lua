--- The picture of the heat example: the field on the unit square as coloured
--- cells, with a bar of the colours.

local svg = require "support.svg"

local picture = {}

local CELLS = 64 -- along each side, sampled from the field
local SIDE = 480 -- pixels
local LEFT, TOP = 80, 50
local BAR_X, BAR_WIDTH, BAR_STEPS = LEFT + SIDE + 30, 18, 120

-- From cold to hot over white at zero: -1, 0, 1.
local COLD, WHITE, HOT = { 33, 102, 172 }, { 247, 247, 247 }, { 178, 24, 43 }

local function colour(value)
  local share = math.min(math.abs(value), 1)
  local far = value < 0 and COLD or HOT
  local parts = {}
  for i = 1, 3 do
    parts[i] = math.floor(WHITE[i] + share * (far[i] - WHITE[i]) + 0.5)
  end
  return ("#%02x%02x%02x"):format(table.unpack(parts))
end

-- A box of pixels without seams between neighbours.
local function box(figure, x, y, width, height, value)
  figure:add('<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" fill="%s"/>',
    x, y, width, height, colour(value))
end

-- The point of the field nearest to the middle of each cell. The first row of
-- the field is y = 0, at the bottom.
local function draw_field(figure, field)
  local size = SIDE / CELLS
  local last = #field - 1
  figure:add '<g shape-rendering="crispEdges">'
  for j = 1, CELLS do
    local row = field[1 + math.floor((j - 0.5) / CELLS * last + 0.5)]
    for i = 1, CELLS do
      box(figure, LEFT + (i - 1) * size, TOP + SIDE - j * size, size, size,
        row[1 + math.floor((i - 0.5) / CELLS * last + 0.5)])
    end
  end
  figure:add "</g>"
end

local function draw_bar(figure)
  local height = SIDE / BAR_STEPS
  figure:add '<g shape-rendering="crispEdges">'
  for i = 1, BAR_STEPS do
    box(figure, BAR_X, TOP + SIDE - i * height, BAR_WIDTH, height,
      (2 * i - 1) / BAR_STEPS - 1)
  end
  figure:add('</g><rect x="%d" y="%d" width="%d" height="%d" fill="none"'
    .. ' stroke="#555555"/>', BAR_X, TOP, BAR_WIDTH, SIDE)
  for i = -2, 2 do
    local label = ("%.1f"):format(i / 2):gsub("^%-", "−")
    local y = TOP + SIDE * (2 - i) / 4
    figure:add('<path d="M%d %.2fh5" stroke="#222222"/>', BAR_X + BAR_WIDTH, y)
    figure:text(BAR_X + BAR_WIDTH + 9, y + 4, label, { size = 12 })
  end
  figure:text(BAR_X + BAR_WIDTH / 2, TOP - 12, "u",
    { anchor = "middle", weight = "600" })
end

--- Draws the field and writes it to a file.
---@param path string
---@param field tidemill.array f64, square; its values between -1 and 1
---@param time number
function picture.write(path, field, time)
  local figure = svg.figure(680, 590, "A mode of the heat equation")
  local mantissa, exponent = ("%.2e"):format(time):match "(.*)e(.*)"
  local panel = figure:panel {
    x = LEFT, y = TOP, width = SIDE, height = SIDE,
    xrange = { 0, 1 }, yrange = { 0, 1 }, xstep = 0.25, ystep = 0.25,
    xformat = "%.2f", yformat = "%.2f", xlabel = "x", ylabel = "y",
    title = ("Temperature at t = %s·10^{%d}"):format(mantissa,
      tonumber(exponent)):gsub("%-", "−"),
  }
  draw_field(figure, field)
  panel:frame()
  draw_bar(figure)
  figure:write(path)
end

return picture
