--- result.lua: what an asynchronous call answers, and callbacks
---
--- A result belongs to the state that made it. Its callbacks run there, when
--- the script waits or polls: a job that ends is announced to the state's inbox
--- (core.finished), never to the script itself.

local core = require "tidemill.core"

---@class tidemill.result
---@field private job userdata
---@field private apply boolean all values of one call, not a map
---@field private collect boolean
---@field private out tidemill.array|nil where results go
---@field private callback function|nil
---@field private error_callback function|nil
---@field private progress table|nil
---@field private outcome {ok: boolean, value: any}|nil once it was read
---@field private fault {value: any}|nil what a callback raised
local Result = {}
Result.__index = Result
Result.__name = "tidemill.result"

local result = { Result = Result }

--- Results with callbacks that have not run: the job's id -> result. So they
--- run even when nobody keeps the result.
local pending = {}

--- Results whose callback raised an error that is not told yet.
local faults = {}

--- Seconds that a wait sleeps before it looks for callbacks and progress.
local SLICE <const> = 0.1

result.SLICE = SLICE

--- Seconds to wait for items to unwind after the user interrupted.
local PATIENCE <const> = 2

-- ---- outcomes ------------------------------------------------------------

local function stopped(self, why, results)
  local done, total = core.progress(self.job)
  local message = why
  if not self.apply then
    local kept = self.out and done or 0
    for i = 1, self.out and 0 or results.n do
      if results[i] ~= nil then kept = kept + 1 end
    end
    message = ("%s with %d of %d items done"):format(why,
      math.min(kept, done), total)
  end
  local e = core.new_error(why, message)
  e.results = results
  return { ok = false, value = e }
end

local function collected(results, errors)
  local items = {}
  for k = 1, #errors, 2 do
    local item = errors[k]
    items[#items + 1] = item
    results[item] = errors[k + 1]
  end
  results.errors = items
  return { ok = true, value = results }
end

local function read(self)
  local results, errors = core.results(self.job) -- item, error, ...
  results = self.out or results
  local why = core.cancelled(self.job)
  if self.collect and not why then return collected(results, errors) end
  if #errors > 0 and not why then
    local e = errors[2]
    if not self.apply then e.results = results end
    return { ok = false, value = e }
  end
  if why then return stopped(self, why, results) end
  local _, _, failed = core.progress(self.job)
  if failed > 0 then
    local e = core.new_error("task", "not enough memory for the results")
    e.results = results
    return { ok = false, value = e }
  end
  return { ok = true, value = self.apply and results[1] or results }
end

--- What came of a job that is done; read once.
local function outcome(self)
  self.outcome = self.outcome or read(self)
  return self.outcome
end

-- ---- callbacks -----------------------------------------------------------

local function call_back(self)
  local out = outcome(self)
  if out.ok and self.callback then
    if self.apply then
      self.callback(table.unpack(out.value, 1, out.value.n))
    else
      self.callback(out.value)
    end
  elseif not out.ok and self.error_callback then
    self.error_callback(out.value)
  end
end

--- Runs the callbacks that are due; keeps what they raise.
---@return integer how many jobs had callbacks to run
local function run_callbacks()
  local count = 0
  local ids = core.finished()
  while ids do
    for _, id in ipairs(ids) do
      local self = pending[id]
      pending[id] = nil
      if self then
        count = count + 1
        local ok, err = pcall(call_back, self)
        if not ok then
          self.fault = { value = err }
          faults[#faults + 1] = self
        end
      end
    end
    ids = core.finished()
  end
  return count
end

--- Raises what this result's own callback raised, once.
local function tell_fault(self)
  local fault = self.fault
  if not fault then return end
  self.fault = nil
  error(fault.value, 0)
end

local function tell_faults()
  while faults[1] do
    local self = table.remove(faults, 1)
    tell_fault(self)
  end
end

result.run_callbacks = run_callbacks

--- Runs the callbacks of jobs that have ended. Raises the first error that
--- a callback raised and no wait has told yet.
---@return integer count of jobs whose callbacks ran
function result.poll()
  local count = run_callbacks()
  tell_faults()
  return count
end

--- The same for a host, which wants the count when one is raised, too.
---@param note fun(count: integer)
function result.report(note)
  note(run_callbacks())
  tell_faults()
end

-- ---- waiting -------------------------------------------------------------

local function draw(self)
  if not self.progress then return end
  local done, _, failed = core.progress(self.job)
  if core.done(self.job) then
    self.progress:finish(done, failed)
    self.progress = nil
  else
    self.progress:update(done, failed)
  end
end

--- Waits until the job is done or `deadline` (by core.clock) has come.
local function wait_for(self, deadline)
  local job = self.job
  local patience
  while not core.done(job) do
    local left = deadline - core.clock()
    if left <= 0 and deadline < math.huge then
      core.wait(job, 0)
      break
    end
    core.wait(job, math.min(left, SLICE))
    run_callbacks()
    draw(self)
    if core.cancelled(job) == "interrupted" then
      patience = patience or core.clock() + PATIENCE
      if core.clock() > patience then break end
    end
  end
  draw(self)
end

local function check_timeout(timeout, level)
  if timeout == nil then return math.huge end
  if type(timeout) ~= "number" or timeout ~= timeout then
    error(("timeout must be a number of seconds (got %s)")
      :format(tostring(timeout)), level + 1)
  end
  return core.clock() + math.max(timeout, 0)
end

--- Waits for the job, at most `timeout` seconds; its callbacks have run when
--- it is done.
---@param timeout? number
---@return boolean done
function Result:wait(timeout)
  wait_for(self, check_timeout(timeout, 2))
  run_callbacks()
  tell_fault(self)
  return core.done(self.job)
end

local function time_out(timeout)
  error(core.new_error("timeout",
    ("no result within %g s"):format(timeout)), 0)
end

--- Waits, and returns what the call returned: all values of apply, the table
--- of a map. Raises its error; raises kind "timeout" when the time is up (the
--- job goes on).
---@param timeout? number seconds
---@return any ...
function Result:get(timeout)
  wait_for(self, check_timeout(timeout, 2))
  run_callbacks()
  tell_fault(self)
  if not core.done(self.job) and not core.cancelled(self.job) then
    time_out(timeout)
  end
  local out = outcome(self)
  if not out.ok then error(out.value, 0) end
  if self.apply then return table.unpack(out.value, 1, out.value.n) end
  return out.value
end

--- Whether the job is done.
---@return boolean
function Result:ready()
  return core.done(self.job)
end

--- Whether the job ended without an error. Raises while it is not done.
---@return boolean
function Result:successful()
  if not core.done(self.job) then
    error("successful: the job is not done yet", 2)
  end
  return outcome(self).ok
end

--- Stops the job: items that wait are skipped, those that run are unwound.
---@return boolean false when it was done already
function Result:cancel()
  return core.cancel(self.job)
end

function Result:__tostring()
  local state = core.done(self.job) and "done" or "running"
  return ("tidemill.result (%s)"):format(core.cancelled(self.job) or state)
end

--- Makes the result of a job that was submitted.
---@param job userdata
---@param options table callback, error_callback, errors
---@param apply boolean
---@param progress table|nil a progress line
---@return tidemill.result
function result.new(job, options, apply, progress)
  local self = setmetatable({
    job = job,
    apply = apply,
    out = options.out,
    collect = options.errors == "collect" and not apply,
    callback = options.callback,
    error_callback = options.error_callback,
    progress = progress,
  }, Result)
  if self.callback or self.error_callback then
    pending[core.id(job)] = self
  end
  return self
end

return result
