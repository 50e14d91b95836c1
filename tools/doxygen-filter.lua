-- doxygen-filter.lua FILE: a header of ours as Doxygen wants to have it. Our
-- comments are plain C ones; each becomes one of Doxygen's, line by line, so
-- that line numbers stay:
--
--   the first of a file   describes the file
--   /* ---- title ---- */ begins a group of that name
--   /* on its own lines   describes what follows; where several functions
--                         follow directly, each of them
--   /* after code         describes what is before it
--
-- What Doxygen would take for a command in the text is escaped, except in
-- blocks of code (indented by four, after an empty line).

local path = arg[1]

-- State: in which kind of comment the line is (nil, "text"), whether in a
-- block of code in it, and the function that the last comment describes.
local comment, code, blank
local described, grouped, first = nil, false, true

local function escape(text)
  local indent = #text:match("^ *")
  if text == "" then
    blank = true
    return text
  end
  if indent < 4 then code = false elseif blank then code = true end
  blank = false
  if code then return text end
  return (text:gsub("[\\%%#<>@]", "\\%0"))
end

-- A line within a comment; " * " in front is kept.
local function inside(line)
  local star, text, tail = line:match("^(%s*%*? ?)(.-)(%s*%*/.*)$")
  if star then
    comment = nil
    return star .. escape(text) .. tail
  end
  star, text = line:match("^(%s*%*? ?)(.*)$")
  return star .. escape(text)
end

-- The text of a comment that begins on this line, after "/*".
local function begin(before, opener, text)
  comment, code, blank = "text", false, false
  local ended = text:match("^(.-)%s*%*/")
  local rest = text:match("%*/(.*)$") or ""
  if ended then
    comment = nil
    return before .. opener .. escape(ended) .. " */" .. rest
  end
  return before .. opener .. escape(text)
end

local function heading(title)
  local open = ("/** @name %s */ /** @{ */"):format(title:sub(1, 1):upper()
    .. title:sub(2))
  local line = grouped and "/** @} */ " .. open or open
  grouped = true
  return line
end

-- A declaration in the same block as the one before shares its comment.
local function declaration(line)
  local name = line:match("^TM_API[^;(]-([%w_]+)%(")
  if not name then return line end
  if described == "" then
    described = name
  elseif described then
    return ("/** @copydoc %s */ %s"):format(described, line)
  end
  return line
end

local function translate(line, next_line)
  if comment then return inside(line) end
  local title = line:match("^/%* %-%-%-%- (.-) %-+ %*/$")
  if title then
    described = nil
    return heading(title)
  end
  local before, text = line:match("^(.-)/%*(.*)$")
  if before and before:find("^%s*$") then
    described = ""
    local opener = first and "/** @file " or "/**"
    first = false
    return begin(before, opener, text)
  elseif before then
    return begin(before, "/**<", text)
  elseif line == "" then
    described = nil
    if grouped and next_line == "#ifdef __cplusplus" then return "/** @} */" end
  end
  return declaration(line)
end

local lines = {}
for line in io.lines(path) do lines[#lines + 1] = line end
for i, line in ipairs(lines) do print(translate(line, lines[i + 1])) end
