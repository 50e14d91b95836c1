-- Writes the API as HTML pages into the directory named: one from the
-- annotations lua/tidemill/core.d.lua, one from each public header, and an
-- index of them (with Doxygen's pages, when they are in its folder c). The
-- annotations and headers are the only source of what the pages say. A public
-- function without a comment is an error.

local OUT = arg[1]

local STYLE = [[
body { max-width: 46em; margin: 2em auto; padding: 0 1em; color: #222;
       font: 16px/1.5 system-ui, sans-serif }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: #f5f4f0 }
pre { padding: .7em 1em; overflow-x: auto; border-left: 3px solid #3b6ea5 }
h2 { margin-top: 2.2em; border-bottom: 1px solid #ddd }
dt { font-family: ui-monospace, monospace; font-size: 14px }
nav { columns: 3; font-size: 14px } nav a { display: block }
]]

local undocumented = 0

-- The pages that were written: { file, title, what it is }.
local pages = {}

local function complain(path, line, name)
  undocumented = undocumented + 1
  io.stderr:write(string.format("%s:%d: %s has no comment\n", path, line,
                                name))
end

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;",
                                 [">"] = "&gt;", ['"'] = "&quot;" }))
end

local function inline(text)
  return (escape(text):gsub("`([^`]+)`", "<code>%1</code>"))
end

-- Paragraphs are parted by empty lines; what is indented stays as it is.
local function paragraphs(lines)
  local out, block = {}, {}
  local function close()
    if #block == 0 then return end
    local text = table.concat(block, "\n")
    local kept = block[1]:find("^  ")
    out[#out + 1] = kept and "<pre>" .. escape(text) .. "</pre>"
      or "<p>" .. inline(text) .. "</p>"
    block = {}
  end
  for _, line in ipairs(lines) do
    local turns = #block > 0
      and (line:find("^  ") ~= nil) ~= (block[1]:find("^  ") ~= nil)
    if line == "" or turns then close() end
    if line ~= "" then block[#block + 1] = line end
  end
  close()
  return table.concat(out, "\n")
end

local function head(title)
  return "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n<title>"
    .. title .. "</title><style>" .. STYLE .. "</style>\n<h1>" .. title
    .. "</h1>"
end

-- An entry is { names, declaration, text lines, tags }: a comment may stand
-- for several names.
local function write_page(file, title, intro, entries)
  local out, names = { head(title), paragraphs(intro), "<nav>" }, 0
  for _, entry in ipairs(entries) do
    for _, name in ipairs(entry.names) do
      out[#out + 1] = ('<a href="#%s">%s</a>'):format(name, name)
      names = names + 1
    end
  end
  out[#out + 1] = "</nav>"
  for _, entry in ipairs(entries) do
    local titles = {}
    for i, name in ipairs(entry.names) do
      titles[i] = ('<span id="%s">%s</span>'):format(name, name)
    end
    out[#out + 1] = "<h2>" .. table.concat(titles, ", ") .. "</h2>"
    out[#out + 1] = "<pre>" .. escape(entry.declaration) .. "</pre>"
    out[#out + 1] = paragraphs(entry.text)
    if entry.tags[1] then
      out[#out + 1] = "<dl>" .. table.concat(entry.tags, "\n") .. "</dl>"
    end
  end
  local page = assert(io.open(OUT .. "/" .. file, "w"))
  page:write(table.concat(out, "\n"), "\n")
  page:close()
  print(OUT .. "/" .. file .. ": " .. names .. " names")
  local said = table.concat(intro, " "):match("^%s*(.-[.:])%f[ \0]")
  pages[#pages + 1] = { file, title, said:gsub(":$", ".") .. "" }
end

local function write_index()
  local doxygen = io.open(OUT .. "/c/index.html")
  if doxygen then
    doxygen:close()
    pages[#pages + 1] = { "c/tidemill_8h.html", "tidemill.h, by Doxygen",
      "The same header with links between its parts, and its source." }
    pages[#pages + 1] = { "c/tidemill__kernel_8h.html",
      "tidemill_kernel.h, by Doxygen", "What kernels are compiled against." }
  end
  local out = { head "tidemill", "<p>Lua scripts and C kernels on every core "
    .. "of the machine.</p><dl>" }
  for _, page in ipairs(pages) do
    out[#out + 1] = ('<dt><a href="%s">%s</a></dt><dd>%s</dd>'):format(page[1],
      page[2], inline(page[3]))
  end
  local file = assert(io.open(OUT .. "/index.html", "w"))
  file:write(table.concat(out, "\n"), "\n</dl>\n")
  file:close()
  print(OUT .. "/index.html: " .. #pages .. " pages")
end

-- ---- Lua -----------------------------------------------------------------

-- "name type what it is" as a definition; types may hold brackets and bars.
local function definition(kind, rest)
  local subject, said = rest:match("^(%S+%s+fun%b()%S*)%s*(.*)$")
  if not subject and kind == "return" then
    subject, said = rest:match("^(%S+)%s*(.*)$")
  elseif not subject then
    subject, said = rest:match("^(%S+%s+%b{}%S*)%s*(.*)$")
    if not subject then subject, said = rest:match("^(%S+%s+%S+)%s*(.*)$") end
  end
  return string.format("<dt>%s %s</dt><dd>%s</dd>", kind,
                       escape(subject or rest), inline(said or ""))
end

local function new_entry()
  return { text = {}, tags = {} }
end

local function take_lua_comment(entry, line)
  local tag, rest = line:match("^%-%-%-@(%w+)%s*(.*)$")
  if tag == "class" or tag == "alias" then
    entry.names = { rest:match("^[%w_.]+") }
    entry.declaration = line:sub(4)
  elseif tag == "param" or tag == "return" or tag == "field" then
    entry.tags[#entry.tags + 1] = definition(tag, rest)
  elseif tag then
    entry.tags[#entry.tags + 1] = "<dt>" .. tag .. " " .. escape(rest)
      .. "</dt>"
  else
    local text = line:match("^%-%-%-%s?(.*)$")
    local last = entry.tags[#entry.tags]
    if last and text:find("^ ") then -- a tag that goes on
      entry.tags[#entry.tags] = last .. " " .. inline(text)
    else
      entry.text[#entry.text + 1] = text
    end
  end
end

local function read_annotations(path)
  local entries, entry, number = {}, new_entry(), 0
  for line in io.lines(path) do
    number = number + 1
    local signature = line:match("^function (.-)%s*end$")
    if line:find("^%-%-%-") then
      take_lua_comment(entry, line)
    else
      if signature then
        entry.names = { (signature:match("^[^(]+")) }
        entry.declaration = signature
        if #entry.text == 0 then complain(path, number, signature) end
      end
      if entry.names then entries[#entries + 1] = entry end
      entry = new_entry()
    end
  end
  return entries
end

-- ---- C -------------------------------------------------------------------

local function comment_lines(text)
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local starred = line:match("^%s*%*+ ?(.*)$")
    lines[#lines + 1] = starred or line:gsub("^%s+", "")
  end
  if lines[1] == "" then table.remove(lines, 1) end
  return lines
end

-- Empty lines part a header into pieces, but not within braces.
local function pieces(text)
  local list, held = {}, ""
  for piece in (text .. "\n\n"):gmatch("(.-)\n\n+") do
    held = held .. piece
    local _, opened = held:gsub("{", "")
    local _, closed = held:gsub("}", "")
    if opened == closed then
      list[#list + 1] = held
      held = ""
    else
      held = held .. "\n\n"
    end
  end
  return list
end

-- All first captures of a pattern, each once.
local function all(text, pattern)
  local names, seen = {}, {}
  for name in text:gmatch(pattern) do
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  return names
end

-- The names that a piece of code declares: its macros, its functions, or the
-- one type that it is about.
local function names_of(code)
  if code:find("^#") then return all("\n" .. code, "\n#define ([%w_]+)") end
  local type = code:match("^typedef struct ([%w_]+)")
    or code:match("^enum ([%w_]+)") or code:match("^typedef.-%(%*([%w_]+)%)")
    or code:match("^typedef.-([%w_]+);%s*$")
  if type then return { type } end
  return all(("\n" .. code):gsub("\nTM_API ", "\n"):gsub("\nstatic inline ",
    "\n"), "\n%a[%w_ *]-%f[%w_]([%w_]+)%(")
end

local function read_header(path)
  local file = assert(io.open(path))
  local text = file:read("a"):gsub('\nextern "C" {\n', "\n")
  file:close()
  local entries, intro = {}, nil
  for _, piece in ipairs(pieces(text)) do
    local comment, code = piece:match("^/%*(.-)%s*%*/\n(.+)$")
    if comment and not intro then
      intro = comment_lines(comment)
    elseif comment then
      code = code:gsub("TM_API ", "")
      entries[#entries + 1] = { names = names_of(code), declaration = code,
                                text = comment_lines(comment), tags = {} }
    elseif piece:find("^static inline") or piece:find("^TM_API")
      or piece:find("^enum") then
      if piece:find("^TM_API") then complain(path, 0, names_of(piece)[1]) end
      entries[#entries + 1] = { names = names_of(piece), declaration = piece,
                                text = {}, tags = {} }
    end
  end
  return entries, intro
end

local HEADERS = { "tidemill.h", "tidemill_kernel.h" }

for _, name in ipairs(HEADERS) do
  if io.open("include/" .. name) then
    local entries, intro = read_header("include/" .. name)
    local title = table.remove(intro, 1)
    write_page((name:gsub("%.h$", "_h.html")), title, intro, entries)
  end
end
write_page("tidemill_lua.html", 'require "tidemill"',
           { "The functions and classes of the Lua module." },
           read_annotations("lua/tidemill/core.d.lua"))
write_index()
os.exit(undocumented == 0)
