--- imap.lua: maps whose results come while they run
---
--- A stream is a job that is fed while its results are taken: so an endless
--- iterator is fine, and leaving the loop stops it. At most 4 x workers x
--- chunksize items are ahead of what was taken.

local core = require "tidemill.core"
local items = require "tidemill.items"
local result = require "tidemill.result"

local imap = {}

local AHEAD <const> = 4
local SLICE <const> = 0.1

---@class tidemill.stream
---@field private job userdata
---@field private source function
---@field private any boolean results in any order
---@field private collect boolean
---@field private exhausted boolean
---@field private fault {value: any}|nil what the source raised
---@field private progress table|nil
---@field private taken integer results that the loop has had
local Stream = {}
Stream.__index = Stream

--- Streams of this state that may still be fed.
local open = setmetatable({}, { __mode = "k" })

local function stop_feeding(self, fault)
  open[self] = nil
  self.exhausted = true
  self.fault = fault
  core.finish(self.job)
end

--- Feeds what there is room for. An error of the iterator, or an item that
--- cannot travel, is kept until the results before it were taken.
local function feed(self)
  for _ = 1, core.room(self.job) do
    if self.exhausted then return end
    local ok, value, more = pcall(self.source)
    if not ok then return stop_feeding(self, { value = value }) end
    if not more then return stop_feeding(self) end
    local sent, err = pcall(core.feed, self.job, value)
    if not sent then return stop_feeding(self, { value = err }) end
  end
end

local function draw(self)
  if not self.progress then return end
  local done, _, failed = core.progress(self.job)
  self.progress:update(done, failed)
end

--- How far the loop was: what was done beyond that, nobody has.
local function raise_interrupted(self)
  error(core.new_error("interrupted",
    ("interrupted with %d items done"):format(self.taken)), 0)
end

local function ended(self)
  if self.progress then
    local done, _, failed = core.progress(self.job)
    self.progress:finish(done, failed)
    self.progress = nil
  end
  local why = core.cancelled(self.job)
  local fault = self.fault
  self.fault = nil
  if why == "interrupted" then raise_interrupted(self) end
  if why and not self.closed then error(core.new_error(why, why), 0) end
  if fault then error(fault.value, 0) end
end

--- The next item's number and result; nil at the end.
local function take(self)
  while true do
    if not self.exhausted then feed(self) end
    local item, ok, value = core.take(self.job, self.any, SLICE)
    result.run_callbacks()
    draw(self)
    if item then
      if ok or self.collect then
        self.taken = self.taken + 1
        return item, value
      end
      if core.cancelled(self.job) ~= "interrupted" then error(value, 0) end
      raise_interrupted(self)
    end
    if core.done(self.job) then return ended(self) end
  end
end

function Stream:__close()
  self.closed = true
  open[self] = nil
  if not core.done(self.job) then core.cancel(self.job) end
  if self.progress then
    local done, _, failed = core.progress(self.job)
    self.progress:finish(done, failed)
    self.progress = nil
  end
end

--- The four values of a generic for.
---@param pool tidemill.pool
---@param job userdata a job of it that was submitted as a stream
---@param given any items
---@param kind string of items
---@param n integer|nil of items
---@param any boolean in any order
---@param collect boolean errors are values
---@param progress table|nil
function imap.iterate(pool, job, given, kind, n, any, collect, progress)
  local self = setmetatable({
    job = job, source = items.source(given, kind, n), any = any,
    collect = collect, exhausted = false, progress = progress, taken = 0,
  }, Stream)
  open[self] = pool
  return function() return take(self) end, nil, nil, self
end

--- Whether a loop of this state still feeds a pool: its workers cannot end
--- before that.
---@param pool tidemill.pool
---@return boolean
function imap.feeds(pool)
  for stream, fed in pairs(open) do
    if fed == pool and not core.done(stream.job) then return true end
  end
  return false
end

--- The window of a stream.
---@param workers integer
---@param chunksize integer
---@param fake boolean the caller does the work: nothing is read ahead
---@return integer
function imap.window(workers, chunksize, fake)
  if fake then return chunksize end
  return AHEAD * workers * chunksize
end

return imap
