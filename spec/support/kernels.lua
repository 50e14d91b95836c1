--- kernels.lua: compiling kernels in specs, away from the user's cache

local core = require "tidemill.core"

local kernels = {}

local folder

local function read_command(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  pipe:close()
  return text
end

--- From now on compiled kernels go to an empty folder; answers its path.
---@return string
function kernels.begin()
  folder = assert(core.temporary_folder())
  core.setenv("XDG_CACHE_HOME", folder)
  return folder
end

--- Removes the folder.
function kernels.finish()
  os.execute("rm -rf '" .. folder .. "'")
end

--- The names of the files in the cache that match a pattern.
---@param pattern string
---@return string[]
function kernels.files(pattern)
  local list = {}
  local text = read_command("find '" .. folder .. "' -type f")
  for path in text:gmatch("[^\n]+") do
    if path:find(pattern) then list[#list + 1] = path end
  end
  return list
end

return kernels
