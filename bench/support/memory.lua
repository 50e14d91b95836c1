--- What a process uses, from /proc, in bytes.

local memory = {}

local function field(path, name)
  local file <close> = io.open(path)
  if not file then return nil end
  local kib = file:read "a":match(name .. ":%s*(%d+) kB")
  return kib and tonumber(kib) * 1024
end

--- Resident memory now.
---@return number bytes
function memory.resident()
  return field("/proc/self/status", "VmRSS") or 0
end

--- The most that was resident since `memory.reset`.
---@return number bytes
function memory.peak()
  return field("/proc/self/status", "VmHWM") or 0
end

--- Forgets the peak. False where the system does not let us.
---@return boolean
function memory.reset()
  local file = io.open("/proc/self/clear_refs", "w")
  if not file then return false end
  local ok = file:write "5"
  return file:close() and ok ~= nil
end

--- The share of memory that is this process's and its children's: each page
--- counts once, divided among those that have it (PSS).
---@return number bytes
function memory.family()
  local file <close> = io.open "/proc/self/stat"
  local own = file and file:read "n" or "self"
  local total = field(("/proc/%s/smaps_rollup"):format(own), "Pss") or 0
  local children <close> = io.open(
    ("/proc/%s/task/%s/children"):format(own, own))
  for pid in (children and children:read "a" or ""):gmatch "%d+" do
    total = total + (field(("/proc/%s/smaps_rollup"):format(pid), "Pss") or 0)
  end
  return total
end

return memory
