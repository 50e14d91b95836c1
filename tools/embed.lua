-- Writes the Lua modules named on the command line, and the one header, as
-- one C source to the standard output: what src/bind/embed.h declares. A
-- module that does not compile fails the build here, with its own line number.

local BYTES_PER_LINE = 18

local function module_name(path)
  local name = path:match("([^/]+)%.lua$")
  return name == "init" and "tidemill" or "tidemill." .. name
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local source = file:read("a")
  file:close()
  if path:find("%.lua$") then assert(load(source, "@" .. path, "t")) end
  return source
end

-- Arrays rather than string literals: C11 promises literals of 4095
-- characters only, and -Wpedantic says so.
local function write_bytes(id, source)
  io.write("static const unsigned char ", id, "[] = {\n")
  for first = 1, #source, BYTES_PER_LINE do
    local last = math.min(first + BYTES_PER_LINE - 1, #source)
    io.write(table.concat({ source:byte(first, last) }, ","), ",\n")
  end
  io.write("0};\n\n")
end

local modules, header = {}, ""
for _, path in ipairs(arg) do
  local source = read(path)
  if path:find("%.h$") then
    header = source
  else
    modules[#modules + 1] = { name = module_name(path), source = source }
  end
end
table.sort(modules, function(a, b) return a.name < b.name end)

io.write("/* Written by tools/embed.lua. */\n")
io.write('#include "bind/embed.h"\n\n')
for i, module in ipairs(modules) do
  write_bytes("source" .. i, module.source)
end
write_bytes("header", header)
io.write("const char *const tm__embedded_header = (const char *)header;\n\n")
io.write("const struct tm__embedded tm__embedded[] = {\n")
for i, module in ipairs(modules) do
  io.write(string.format('  {"%s", (const char *)source%d, %d},\n',
                         module.name, i, #module.source))
end
io.write("  {NULL, NULL, 0}};\n")
