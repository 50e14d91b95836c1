--- processes.lua: what specs and their tasks see of worker processes
---
--- Everything is read from /proc. A worker is known by its name there,
--- "tm-worker-N", so that a number which was given again is not mistaken.

local pools = require "spec.support.pools"

local processes = {}

local function read(path, format)
  local file = io.open(path, "rb")
  if not file then return nil end
  local content = file:read(format or "a")
  file:close()
  return content
end

local function lines_of(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  return lines
end

--- The number of the process that asks.
---@return integer
function processes.pid()
  return read("/proc/self/stat", "n")
end

--- Ends the process that asks, at once.
---@param signal? string "KILL" unless given
function processes.die(signal)
  os.execute("kill -" .. (signal or "KILL") .. " $PPID")
  while true do end -- a signal may come late
end

--- Sends a signal to each process of a list.
---@param signal string
---@param pids integer[]
function processes.signal(signal, pids)
  os.execute("kill -" .. signal .. " " .. table.concat(pids, " "))
end

---@class processes.entry
---@field pid integer
---@field name string
---@field state string Z: a zombie

--- The workers among the children of a process, of this one unless given.
---@param parent? integer
---@return processes.entry[]
function processes.workers(parent)
  local list = {}
  parent = parent or processes.pid()
  for _, line in ipairs(lines_of "cat /proc/[0-9]*/stat") do
    local pid, name, state, of =
      line:match "^(%d+) %((.*)%) (%S) (%d+)"
    if tonumber(of) == parent and name:find "^tm%-worker" then
      list[#list + 1] = { pid = tonumber(pid), name = name, state = state }
    end
  end
  return list
end

--- Waits until an event loop would see something on a descriptor of tm.fileno,
--- of the process that asks.
---@param fd integer
function processes.await_readable(fd)
  pools.wait_until(function()
    local text = read("/proc/self/fdinfo/" .. fd) or ""
    local count = text:match "eventfd%-count:%s*(%x+)"
    return count and tonumber(count, 16) > 0
  end, "the descriptor")
end

--- Whether a worker of that number runs. A zombie does not.
---@param pid integer
---@return boolean
function processes.alive(pid)
  local text = read("/proc/" .. pid .. "/stat") or ""
  local name, state = text:match "^%d+ %((.*)%) (%S)"
  return name ~= nil and name:find "^tm%-worker" ~= nil and state ~= "Z"
    and state ~= "X"
end

--- Waits until none of these workers runs.
---@param pids integer[]
function processes.await_end(pids)
  pools.wait_until(function()
    for _, pid in ipairs(pids) do
      if processes.alive(pid) then return false end
    end
    return true
  end, "workers to end")
end

--- Calls f() in all the workers of a pool, which meet for that.
---@param pool tidemill.pool
---@param f fun(): any
---@return table
function processes.each(pool, f)
  local n, here = #pool, pools.signal()
  return pool:map(function()
    here:increment()
    pools.await(here, n)
    return f()
  end, require "tidemill".range(n), 1)
end

--- Numbers of all the workers of a pool.
---@param pool tidemill.pool
---@return integer[]
function processes.of(pool)
  return processes.each(pool, processes.pid)
end

--- Collects garbage here and in all the workers of a pool.
---@param pool tidemill.pool
function processes.collect(pool)
  processes.each(pool, pools.collect)
  pools.collect()
end

--- How many descriptors this process has open, of the first 4096. No other
--- process is asked: a pipe to it may be there twice for a moment.
---@return integer
function processes.descriptors()
  local count = 0
  for i = 0, 4095 do
    if read("/proc/self/fdinfo/" .. i) then count = count + 1 end
  end
  return count
end

--- Bytes of memory of some processes together, where what several of them
--- share counts once (PSS).
---@param pids integer[]
---@return integer
function processes.memory(pids)
  local sum = 0
  for _, pid in ipairs(pids) do
    local text = assert(read("/proc/" .. pid .. "/smaps_rollup"))
    sum = sum + 1024 * tonumber(text:match "\nPss: *(%d+) kB")
  end
  return sum
end

return processes
