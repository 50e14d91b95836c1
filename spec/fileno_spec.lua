-- tm.fileno: jobs of this state as events of somebody's loop.

local tm = require "tidemill"
local child = require "spec.support.child"
local pools = require "spec.support.pools"
local processes = require "spec.support.processes"

local function installed(name)
  return (pcall(require, name))
end

describe("fileno", function()
  it("is one descriptor for the state", function()
    local fd = tm.fileno()
    assert.equal("integer", math.type(fd))
    assert.equal(fd, tm.fileno())
  end)

  it("wakes luv's loop for each job", function()
    if not installed "luv" then return pending("luv is not installed") end
    local uv = require "luv"
    local pool = tm.Pool { kind = "thread", workers = 2 }
    local watcher, got = uv.new_poll(tm.fileno()), {}
    for i = 1, 20 do
      pool:apply_async(function(x) return x * x end, { i },
        { callback = function(x) got[#got + 1] = x end })
    end
    watcher:start("r", function()
      tm.poll()
      if #got == 20 then watcher:close() end
    end)
    uv.run()
    table.sort(got)
    assert.equal(400, got[20])
    pool:close()
    pool:join()
  end)

  it("wakes cqueues' loop for a result that has no callback", function()
    if not installed "cqueues" then
      return pending("cqueues is not installed")
    end
    local cqueues = require "cqueues"
    local pool = tm.Pool { kind = "thread", workers = 1 }
    local loop, fd, value = cqueues.new(), tm.fileno(), nil
    loop:wrap(function()
      local result = pool:apply_async(function() return "done" end)
      while not result:ready() do
        cqueues.poll({ pollfd = fd, events = "r" })
        tm.poll()
      end
      value = result:get()
    end)
    assert(loop:loop())
    assert.equal("done", value)
    pool:close()
    pool:join()
  end)

  for _, kind in ipairs(pools.concurrent) do
    it("tells of a cancelled job of a " .. kind .. " pool", function()
      local pool <close> = pools.new(kind)
      local fd, begun, why = tm.fileno(), pools.signal(), nil
      tm.poll()
      local result = pool:apply_async(function()
        begun:increment()
        while true do end
      end, {}, { error_callback = function(e) why = e.kind end })
      pools.await(begun)
      result:cancel()
      processes.await_readable(fd)
      pools.wait_until(function() tm.poll() return why end, "the callback")
      assert.equal("cancelled", why)
    end)
  end

  it("is a worker process's own, for its own pools", function()
    local pool <close> = pools.new "process"
    assert.equal("called", pool:apply(function()
      local own <close> = tm.Pool { kind = "thread", workers = 1 }
      local fd, what = tm.fileno(), nil
      own:apply_async(function() return "called" end, {},
        { callback = function(x) what = x end })
      processes.await_readable(fd)
      pools.wait_until(function() tm.poll() return what end, "the callback")
      return what
    end))
  end)

  it("is shown by an example", function()
    if not installed "luv" then return pending("luv is not installed") end
    local file = assert(io.open("examples/event_loop_luv.lua"))
    local outcome = child.run(file:read("a"))
    file:close()
    assert.equal("", outcome.err)
    assert.matches("^12 jobs, %d+ ticks .*\npi is about 3%.1%d+ ", outcome.out)
  end)

  it("tells of jobs that ended before it was asked for", function()
    if not installed "luv" then return pending("luv is not installed") end
    local outcome = child.run [[
      local tm, uv = require "tidemill", require "luv"
      local pool = tm.Pool { kind = "fake" }
      pool:apply_async(print, { "ran" },
        { callback = function() print "called" end })
      local watcher = uv.new_poll(tm.fileno())
      watcher:start("r", function() tm.poll() watcher:close() end)
      uv.run()
    ]]
    assert.equal("", outcome.err)
    assert.equal("ran\ncalled\n", outcome.out)
  end)
end)
