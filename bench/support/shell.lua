--- Commands of the system.

local shell = {}

--- A word of a command line, whatever is in it.
---@param text string
---@return string
function shell.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- Whether a command ends well; what it prints is dropped.
---@param command string
---@return boolean
function shell.succeeds(command)
  return (os.execute("{ " .. command .. "; } >/dev/null 2>&1")) == true
end

--- The lines that a command prints.
---@param command string
---@return string[]
---@return boolean ok whether it ended well
function shell.lines(command)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  return lines, pipe:close() == true
end

--- The first line of a file, without the space around it; nil without a file.
---@param path string
---@return string?
function shell.first_line(path)
  local file <close> = io.open(path)
  local line = file and file:read "l"
  return line and line:match "^%s*(.-)%s*$"
end

return shell
