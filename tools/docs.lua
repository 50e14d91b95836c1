-- Writes the API as HTML pages into the directory named: one from the
-- annotations lua/tidemill/core.d.lua, one from each public header. These
-- are the only source of what the pages say. A public function without a
-- comment is an error.

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

-- An entry is { name, declaration, text lines, tags }.
local function write_page(file, title, intro, entries)
  local out = { "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\">",
                "<title>" .. title .. "</title><style>" .. STYLE .. "</style>",
                "<h1>" .. title .. "</h1>", paragraphs(intro), "<nav>" }
  for i, entry in ipairs(entries) do
    out[#out + 1] = string.format('<a href="#e%d">%s</a>', i,
                                  escape(entry.name))
  end
  out[#out + 1] = "</nav>"
  for i, entry in ipairs(entries) do
    out[#out + 1] = string.format('<h2 id="e%d">%s</h2>', i,
                                  escape(entry.name))
    out[#out + 1] = "<pre>" .. escape(entry.declaration) .. "</pre>"
    out[#out + 1] = paragraphs(entry.text)
    if entry.tags[1] then
      out[#out + 1] = "<dl>" .. table.concat(entry.tags, "\n") .. "</dl>"
    end
  end
  local page = assert(io.open(OUT .. "/" .. file, "w"))
  page:write(table.concat(out, "\n"), "\n")
  page:close()
  print(OUT .. "/" .. file .. ": " .. #entries .. " entries")
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
    entry.name = rest:match("^[%w_.]+")
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
        entry.name = signature:match("^[^(]+")
        entry.declaration = signature
        if #entry.text == 0 then complain(path, number, entry.name) end
      end
      if entry.name then entries[#entries + 1] = entry end
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

local function name_of(code)
  return code:match("^#define ([%w_]+)") or code:match("^enum ([%w_]+)")
    or code:match("%(%*([%w_]+)%)") or code:match("([%w_]+)%s*%(")
    or code:match("([%w_]+);%s*$")
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
      entries[#entries + 1] = { name = name_of(code), declaration = code,
                                text = comment_lines(comment), tags = {} }
    elseif piece:find("^TM_API") then
      complain(path, 0, name_of(piece))
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
os.exit(undocumented == 0)
