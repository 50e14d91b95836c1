--- pools.lua: pools under test, and how a spec and its tasks wait for each
--- other
---
--- busted gives a spec an environment of its own, which is not the globals
--- that tasks know. So tasks of specs name no globals: what they need is
--- local to the spec, or here, where workers find it by `require`.

local tm = require "tidemill"

local pools = {}

--- Kinds of pool that behave alike.
pools.kinds = { "thread", "process", "fake" }

--- Those of them whose tasks run beside the script.
pools.concurrent = { "thread", "process" }

--- Seconds after which what was awaited is taken to come never.
pools.DEADLINE = 60

--- How worker processes of specs are started. The thread sanitizer does not
--- allow threads in the child of a process that has some: there it is "spawn".
pools.start_method = os.getenv("TIDEMILL_SPEC_START") or "auto"

--- A pool of two workers (a fake one has one).
---@param kind string
---@param options? table more options of tm.Pool
---@return tidemill.pool
function pools.new(kind, options)
  local o = { kind = kind, workers = 2 }
  if kind == "process" then o.start_method = pools.start_method end
  for name, value in pairs(options or {}) do o[name] = value end
  return tm.Pool(o)
end

--- Ends a pool, whatever runs in it.
---@param pool tidemill.pool
function pools.stop(pool)
  pool:terminate()
  pool:join()
end

--- A counter that logs nothing: what specs and tasks signal with.
---@return tidemill.counter
function pools.signal()
  return tm.Counter(math.maxinteger, "{}")
end

--- Waits until f() is true.
---@param f fun(): any
---@param what? string for the message
function pools.wait_until(f, what)
  local deadline = tm.clock() + pools.DEADLINE
  local tries = 0
  while not f() do
    tries = tries + 1
    if tries > 100 then os.execute "sleep 0.005" end
    if tm.clock() > deadline then
      error("waited too long for " .. (what or "an event"), 2)
    end
  end
end

--- Waits until a counter is at n or above.
---@param counter tidemill.counter
---@param n? integer 1 unless given
function pools.await(counter, n)
  pools.wait_until(function() return counter:value() >= (n or 1) end,
    "a signal")
end

--- The real globals, which a spec has not.
---@return table
function pools.globals() return _G end

--- Two collections: the second for what finalisers of the first let go.
function pools.collect()
  collectgarbage()
  collectgarbage()
end

--- An iterator function over 1 .. n that raises `fault` in place of item k.
---@param n integer
---@param k integer
---@param fault any
---@return function
function pools.throwing(n, k, fault)
  local i = 0
  return function()
    i = i + 1
    if i == k then error(fault, 0) end
    if i <= n then return i end
  end
end

return pools
