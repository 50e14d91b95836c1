--- npy.lua: arrays in NumPy's .npy files
---
--- A file is "\x93NUMPY", a version, the length of the header, the header (a
--- Python dict as text), and the elements. The format is described in
--- numpy/lib/format.py.

local core = require "tidemill.core"
local nearest = require "tidemill.nearest"

local npy = {}

local MAGIC <const> = "\x93NUMPY"

--- Bytes that the header of a hostile file may make us read.
local MOST <const> = 1 << 20

--- The data begins at a multiple of this.
local ALIGNMENT <const> = 64

local MOST_RANK <const> = 8

local DESCRIPTIONS = { f64 = "<f8", f32 = "<f4", i64 = "<i8", i32 = "<i4",
                       u8 = "|u1", c128 = "<c16" }

local DTYPES = { ["<u1"] = "u8", ["u1"] = "u8" }
for dtype, description in pairs(DESCRIPTIONS) do
  DTYPES[description] = dtype
end

-- ---- writing -------------------------------------------------------------

--- Version 1.0: a header of ours is never near 64 KiB.
local function header_of(a)
  local extents = table.concat(a.shape, ", ")
  if a.rank == 1 then extents = extents .. "," end
  local text = ("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }")
    :format(DESCRIPTIONS[a.dtype], extents)
  local length = #MAGIC + 2 + 2 + #text + 1
  text = text .. (" "):rep(-length % ALIGNMENT) .. "\n"
  return MAGIC .. "\1\0" .. ("<s2"):pack(text)
end

--- Writes an array to a file, which appears when it is complete.
---@param path string
---@param a tidemill.array
function npy.save(path, a)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'save' (path expected, got %s)")
      :format(type(path)), 2)
  end
  if not core.is_array(a) then
    error(("bad argument #2 to 'save' (array expected, got %s)")
      :format(type(a)), 2)
  end
  local ok, err = pcall(core.array_write, a, path, header_of(a))
  if not ok then error(err, 2) end
end

-- ---- reading -------------------------------------------------------------

--- All faults of a file: raised here, told by load at its caller's level.
local function fault(path, ...)
  error(("%s: %s"):format(path, string.format(...)), 0)
end

local function read_exactly(file, n, path)
  if n == 0 then return "" end
  local bytes, why = file:read(n)
  if why then error(("cannot read %s: %s"):format(path, why), 0) end
  if not bytes or #bytes < n then
    fault(path, "no .npy file, or its header is cut short")
  end
  return bytes
end

--- The header's text, and where the data begins.
local function read_header(file, path)
  local first = read_exactly(file, 8, path)
  if first:sub(1, 6) ~= MAGIC then fault(path, "no .npy file") end
  local major, minor = first:byte(7, 8)
  if major < 1 or major > 3 or minor ~= 0 then
    fault(path, ".npy version %d.%d is not known here", major, minor)
  end
  local size = major == 1 and 2 or 4
  local n = ("<I" .. size):unpack(read_exactly(file, size, path))
  if n > MOST then fault(path, "a header of %d bytes", n) end
  return read_exactly(file, n, path), 8 + size + n
end

--- Each value of the dict as a pattern, and what becomes of it.
local VALUES = {
  descr = { "^'([^'\\]*)'()", "^\"([^\"\\]*)\"()" },
  fortran_order = { "^(True)()", "^(False)()" },
  shape = { "^%(([%d%s,L]*)%)()" },
}

local function match_value(text, at, name)
  for _, pattern in ipairs(VALUES[name]) do
    local value, after = text:match(pattern, at)
    if value then return value, after end
  end
end

--- The fields of a dict of exactly our three names.
local function parse(text, path)
  local fields = {}
  local at = text:match("^%s*{%s*()")
  while at do
    local after = text:match("^}%s*()$", at)
    if after then break end
    local quote, name, value_at = text:match("^(['\"])([%w_]*)%1%s*:%s*()", at)
    if not quote or not VALUES[name] or fields[name] then at = nil break end
    fields[name], at = match_value(text, value_at, name)
    if not at then
      fault(path, "cannot read '%s' in the header: %s", name,
        text:sub(value_at, value_at + 60):gsub("%s+", " "))
    end
    at = text:match("^%s*,%s*()", at) or text:match("^%s*()}", at)
  end
  if not at or not (fields.descr and fields.fortran_order and fields.shape) then
    fault(path, "the header is malformed")
  end
  return fields
end

--- Extents: "3, 4", "3,", or "" (a scalar, which becomes an array of one).
local function parse_shape(text, path)
  local shape = {}
  local rest = text:gsub("%s+", " ")
  if rest:find("^ ?$") then return { 1 } end
  if not rest:find(",") then fault(path, "the shape (%s) is no tuple", rest) end
  for digits, after in rest:gmatch("([^,]*)(,?)") do
    local number = digits:match("^ ?(%d+)L? ?$")
    if number then
      local extent = math.tointeger(number)
      if #number > 18 or not extent then
        fault(path, "an extent of %s", number:sub(1, 40))
      end
      shape[#shape + 1] = extent
    elseif after == "," or not digits:find("^ ?$") then
      fault(path, "the shape (%s) is malformed", rest:sub(1, 60))
    end
  end
  if #shape > MOST_RANK then
    fault(path, "%d dimensions; arrays have at most %d", #shape, MOST_RANK)
  end
  return shape
end

local function dtype_of(description, path)
  local dtype = DTYPES[description]
  if dtype then return dtype end
  if description:find "^>" then
    fault(path, "elements of type '%s' are big-endian; save them as '<%s'",
      description, description:sub(2))
  end
  fault(path, "elements of type '%s' are not known here (<f8, <f4, <i8, <i4, "
    .. "|u1, <c16)", description:sub(1, 40))
end

local function read_head(path)
  local file, why = io.open(path, "rb")
  if not file then error("cannot read " .. why, 0) end
  local _ <close> = file
  local text, offset = read_header(file, path)
  local fields = parse(text, path)
  local size = file:seek "end"
  if not size then fault(path, "not a regular file") end
  return {
    dtype = dtype_of(fields.descr, path),
    shape = parse_shape(fields.shape, path),
    fortran = fields.fortran_order == "True",
    offset = offset,
    size = size,
  }
end

local SIZES = { f64 = 8, f32 = 4, i64 = 8, i32 = 4, u8 = 1, c128 = 16 }

--- Before memory is taken for what the header promises.
local function check_size(head, path)
  local bytes = SIZES[head.dtype]
  for _, extent in ipairs(head.shape) do
    if extent == 0 then return end
  end
  for _, extent in ipairs(head.shape) do
    if bytes > math.maxinteger // extent then
      fault(path, "an array that no file holds")
    end
    bytes = bytes * extent
  end
  if bytes > head.size - head.offset then
    fault(path, "cut short: %d bytes of data expected, %d there", bytes,
      math.max(head.size - head.offset, 0))
  end
end

local function read(path, mmap)
  local head = read_head(path)
  check_size(head, path)
  if not mmap then
    local a = core.array(nil, head.dtype, head.shape)
    core.array_read(a, path, head.offset, head.fortran)
    return a
  end
  if head.fortran and #head.shape > 1 then
    fault(path, "its elements lie in Fortran order: it cannot be mapped; "
      .. "load it without mmap")
  end
  return core.array_map(core.absolute(path), head.dtype, head.shape,
    head.offset)
end

local function check_options(options)
  if options == nil then return false end
  if type(options) ~= "table" then
    error(("bad argument #2 to 'load' (table expected, got %s)")
      :format(type(options)), 3)
  end
  for name, value in pairs(options) do
    if name ~= "mmap" then
      error(nearest.unknown("option", name, { "mmap" }), 3)
    end
    if type(value) ~= "boolean" then
      error(("option 'mmap' must be true or false (got %s)")
        :format(tostring(value)), 3)
    end
  end
  return options.mmap == true
end

--- Reads an array from a .npy file. With {mmap = true} its memory is the
--- file itself: read-only, one mapping for all workers of this process, each
--- page read when it is first looked at.
---@param path string
---@param options? {mmap: boolean}
---@return tidemill.array
function npy.load(path, options)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'load' (path expected, got %s)")
      :format(type(path)), 2)
  end
  local mmap = check_options(options)
  local ok, a = pcall(read, path, mmap)
  if not ok then
    -- a fault of the core bears the position of a line here
    error(type(a) == "string" and a:gsub("^tidemill%.npy:%d+: ", "") or a, 2)
  end
  return a
end

return npy
