-- Worker processes that are started on their own, not forked. What they have
-- in common with others is in the specs of pools; here is what is theirs.

local tm = require "tidemill"
local core = require "tidemill.core"
local child = require "spec.support.child"
local faults = require "spec.support.faults"
local pools = require "spec.support.pools"

-- what tasks need: busted's globals are not theirs
local io, os, package, require = io, os, package, require
local assert_file, error, tonumber, tostring = assert, error, tonumber, tostring

local function spawned(options)
  local o = { kind = "process", start_method = "spawn", workers = 2 }
  for name, value in pairs(options or {}) do o[name] = value end
  return tm.Pool(o)
end

local function process()
  local file <close> = assert_file(io.open "/proc/self/stat")
  return file:read "n"
end

--- A task that kills its worker at item `fatal`.
local function dying(fatal)
  return function(i)
    if i == fatal then os.execute "kill -9 $PPID" end
    return i
  end
end

describe("a spawned worker", function()
  local pool

  before_each(function() pool = spawned() end)
  after_each(function() pools.stop(pool) end)

  it("is a process of its own, a child of the script's", function()
    local parent = pool:apply(function()
      for line in io.lines "/proc/self/status" do
        local number = line:match "^PPid:%s*(%d+)"
        if number then return tonumber(number) end
      end
    end)
    assert.equal(process(), parent)
    assert.not_equal(process(), pool:apply(process))
  end)

  it("has none of what the script has open", function()
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    os.remove(path)
    local later <close> = spawned()
    local open = later:apply(function()
      local pipe <close> = io.popen "ls -l /proc/$PPID/fd"
      return pipe:read "a"
    end)
    assert.truthy(open:find("0 -> /dev/null", 1, true))
    assert.falsy(open:find(path, 1, true))
    file:write "still ours"
  end)

  it("maps functions over items, with their upvalues", function()
    local factor = 3
    local out = pool:map(function(x) return factor * x end, tm.range(1, 500))
    for i = 1, 500 do assert.equal(3 * i, out[i]) end
  end)

  it("reports errors with the worker's traceback", function()
    local fault = { code = 42 }
    local e = faults.kind("task", pool.map, pool, function(i)
      if i == 3 then error(fault) end
    end, { 1, 2, 3 })
    assert.equal(3, e.item)
    assert.equal(42, e.value.code)
    assert.truthy(e.traceback:find("process_spawn_spec", 1, true))
  end)

  it("requires the script's modules, also by a path that changed", function()
    local before <const> = package.path
    local path = os.tmpname()
    os.remove(path)
    assert(os.execute("mkdir " .. path))
    local file <close> = assert(io.open(path .. "/of_the_spawned.lua", "w"))
    file:write "return 17"
    file:close()
    package.path = path .. "/?.lua;" .. before
    local ok, answer = pcall(pool.apply, pool,
      function() return require "of_the_spawned" end)
    package.path = before
    os.execute("rm -r " .. path)
    assert(ok, answer)
    assert.equal(17, answer)
  end)

  it("reads the store as it is, and updates it", function()
    local key = tm.glob_store { n = 1 }
    assert.equal(1, pool:apply(function() return tm.glob_read(key).n end))
    tm.glob_update(key, { n = 2 })
    assert.equal(2, pool:apply(function() return tm.glob_read(key).n end))
    local own = pool:apply(function()
      tm.glob_update(key, { n = 3 })
      return tm.glob_store "made by a worker"
    end)
    assert.equal(3, pool:apply(function() return tm.glob_read(key).n end))
    assert.equal("made by a worker", tm.glob_read(own))
  end)

  it("has the script's arrays in place", function()
    local a = tm.array("f64", 1000)
    pool:map(function(i) a[i] = i / 2 end, tm.range(1, 1000))
    for i = 1, 1000 do assert.equal(i / 2, a[i]) end
    local made = pool:apply(function()
      local b = tm.array("i64", 3)
      b:fill(7)
      return b
    end)
    assert.same({ 7, 7, 7 }, made:totable())
  end)

  it("counts with the others", function()
    local counter = pools.signal()
    pool:map(function() counter:increment(2) end, tm.range(1, 100))
    assert.equal(200, counter:value())
  end)

  it("knows tasks that were made before and after it", function()
    local before = tm.task("before", function(x) return x + 1 end)
    assert.equal(2, pool:apply(before, { 1 }))
    local after = tm.task { name = "after",
      setup = function() return nil end,
      run = function(x) return before(x) * 10 end }
    assert.same({ 20, 30, n = 2 }, pool:map(after, { 1, 2 }))
  end)

  it("fails its item alone when it dies, and is replaced", function()
    local out = pool:map(dying(5), tm.range(1, 50),
      { errors = "collect", chunksize = 1 })
    for i = 1, 50 do
      if i ~= 5 then assert.equal(i, out[i]) end
    end
    assert.equal("worker_died", out[5].kind)
    assert.truthy(out[5].message:find("SIGKILL", 1, true))
    local met, await = pools.signal(), pools.await
    pool:map(function() -- which takes two workers
      met:increment(1)
      await(met, 2)
    end, { 1, 2 }, 1)
  end)

  it("is replaced while the script computes", function()
    local ran = pools.signal()
    local function note() ran:increment(1) end
    local fatal, after = dying(1), dying(0)
    local one <close> = spawned { workers = 1 }
    local death = one:apply_async(fatal, { 1 })
    local job = one:map_async(function(i)
      note()
      return after(i)
    end, { 1, 2, 3 })
    pools.await(ran, 3) -- no call into the pool until then
    assert.same({ 1, 2, 3, n = 3 }, job:get())
    faults.kind("worker_died", death.get, death)
  end)

  it("serves so many items as it may", function()
    local one <close> = spawned { workers = 1, max_tasks_per_child = 2 }
    local ids = one:map(process, { 1, 2, 3, 4 }, 1)
    assert.equal(ids[1], ids[2])
    assert.equal(ids[3], ids[4])
    assert.not_equal(ids[1], ids[3])
  end)

  it("runs the initializer with its arguments", function()
    local one <close> = spawned {
      workers = 1,
      initializer = function(t) package.loaded.given = t end,
      initargs = { { word = "hello" } }
    }
    assert.equal("hello", one:apply(function()
      return require("given").word
    end))
  end)

  it("has no pool of processes unless it makes one", function()
    local kind = pool:apply(function() return tostring(tm.process_pool()) end)
    assert.truthy(kind:find("fake", 1, true))
    local sum = pool:apply(function()
      local inner <close> = tm.Pool { kind = "process", workers = 1,
                                      start_method = "spawn" }
      return inner:apply(function() return 1 + 1 end)
    end)
    assert.equal(2, sum)
  end)
end)

describe("a pool of spawned workers", function()
  it("leaves nothing behind when it is joined", function()
    local function live()
      pools.collect()
      return core.arena_stats().blocks
    end
    spawned():close()
    pools.collect()
    local before = live()
    for _ = 1, 3 do
      local pool = spawned { initializer = function(t) return t end,
                             initargs = { { 1, 2, 3 } } }
      assert.equal(3, #pool:map(function(x) return { x } end, { 1, 2, 3 }))
      pool:close()
      pool:join()
      pool = nil -- luacheck: ignore
      assert.equal(before, live())
    end
    local pipe <close> = assert(io.popen "cat /proc/[0-9]*/stat 2>/dev/null")
    for line in pipe:lines() do
      local state, parent = line:match "%) (%a) (%d+)"
      if tonumber(parent) == process() then assert.not_equal("Z", state) end
    end
  end)

  it("ends at once when it is terminated", function()
    local started = pools.signal()
    local pool = spawned()
    local job = pool:map_async(function()
      started:increment(1)
      while true do end
    end, { 1, 2 }, 1)
    pools.await(started, 2)
    pools.stop(pool)
    faults.kind("cancelled", job.get, job)
  end)
end)

describe("the command that is spawned", function()
  local making = [[
    local tm = require "tidemill"
    local function count()
      local pool <close> = tm.Pool { kind = "process", workers = 1,
                                     start_method = "spawn" }
      return pool:map(function(x) return x + 1 end, { 1, 2, 3 })[3]
    end
    print(select(2, pcall(count)))
  ]]

  it("is found by the module in lua5.4", function()
    local folder = child.command:match "^(.*)/"
    local module = io.open(folder .. "/tidemill.so")
    if not module then return end -- where sanitizers need the command
    module:close()
    local run = child.run(making, {
      program = "lua5.4",
      env = { "LUA_CPATH=" .. folder .. "/?.so;;" }
    })
    assert.equal("4\n", run.out)
    assert.equal(0, run.status)
  end)

  it("is told by the setting", function()
    local run = child.run("require('tidemill').configure { worker_command = "
      .. ("%q }"):format(child.command) .. making,
      { env = { "TIDEMILL_WORKER_COMMAND=./none" } })
    assert.equal("4\n", run.out)
  end)

  it("is named with a remedy when it is missing", function()
    local run = child.run(making,
      { env = { "TIDEMILL_WORKER_COMMAND=./none" } })
    assert.truthy(run.out:find("'./none': No such file", 1, true), run.out)
    assert.truthy(run.out:find("set worker_command", 1, true), run.out)
  end)

  it("is no worker when it ends as it starts: an error, no loop", function()
    local run = child.run(making, { env = { "TIDEMILL_WORKER_COMMAND=true" } })
    assert.truthy(run.out:find("'true' ended with status 0", 1, true), run.out)
    assert.equal(0, run.status)
  end)

  it("says that it is of another version", function()
    local run = child.run(making,
      { env = { "TIDEMILL_WORKER_COMMAND=./other" },
        files = { other = "" },
        prefix = "printf '#!/bin/sh\\nexit 95\\n' >other; chmod +x other;" })
    assert.truthy(run.out:find("'./other' is not of version", 1, true), run.out)
  end)

  it("writes to the script's log file", function()
    local run = child.run([[
      local tm = require "tidemill"
      tm.start_log_file "log"
      do
        local pool <close> = tm.Pool { kind = "process", workers = 1,
                                       start_method = "spawn" }
        pool:apply(function() tm.log "from afar" end)
      end
      io.write(io.open("log"):read "a")
    ]])
    assert.equal("from afar\n", run.out)
  end)

  it("ends when the script is killed", function()
    local run = child.run([[
      local tm = require "tidemill"
      local pool = tm.Pool { kind = "process", workers = 2,
                             start_method = "spawn" }
      local started = tm.Counter(1000000)
      pool:map_async(function()
        print(io.open("/proc/self/stat"):read "n")
        started:increment(1)
        while true do end
      end, { 1, 2 }, 1)
      while started:value() < 2 do end
      os.execute "kill -9 $PPID"
    ]])
    local list = {}
    for id in run.out:gmatch "%d+" do list[#list + 1] = id end
    assert.equal(2, #list, run.out .. run.err)
    for _, id in ipairs(list) do
      pools.wait_until(function()
        local file = io.open("/proc/" .. id .. "/stat")
        local state = file and file:read("a"):match "%) (%a)" or "gone"
        if file then file:close() end
        return state == "gone" or state == "Z"
      end, "the end of a worker")
    end
  end)
end)
