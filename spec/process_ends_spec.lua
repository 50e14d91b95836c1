-- How pools of processes end, and their script: nothing stays, nobody waits.
-- For the ends that all kinds of pools share see lifecycle_spec.lua.

local tm = require "tidemill"
local core = require "tidemill.core"
local pools = require "spec.support.pools"
local processes = require "spec.support.processes"
local faults = require "spec.support.faults"
local child = require "spec.support.child"

local error, ipairs, os, table = error, ipairs, os, table

local SMALL <const> = os.getenv "TIDEMILL_STRESS" == "small"
local POOLS <const> = SMALL and 20 or 200
local TURNS <const> = SMALL and 10 or 60

local function square(x) return x * x end
local function loop() while true do end end -- luacheck: ignore

describe("a pool of processes", function()
  -- Ends a pool by `finish`; its workers are gone then, with no zombie.
  local function ends(finish, options)
    local pool = pools.new("process", options)
    local pids = processes.of(pool)
    finish(pool)
    for _, pid in ipairs(pids) do assert.is_false(processes.alive(pid)) end
    assert.same({}, processes.workers())
  end

  it("that is closed and joined leaves no process", function()
    ends(function(pool)
      local result = pool:map_async(square, tm.range(100))
      pool:close()
      pool:join()
      assert.equal(10000, result:get()[100])
    end)
  end)

  it("that is terminated leaves none, whatever runs", function()
    ends(function(pool)
      local started = pools.signal()
      pool:map_async(function()
        started:increment()
        loop()
      end, tm.range(10), 1)
      pools.await(started, 2)
      pools.stop(pool)
    end)
  end)

  it("in a block leaves none", function()
    ends(function(kept)
      local pool <close> = kept
      pool:map(square, { 1, 2 })
    end)
    ends(function(kept)
      local started = pools.signal()
      faults.of(function()
        local pool <close> = kept
        pool:apply_async(function()
          started:increment()
          loop()
        end)
        pools.await(started)
        error "left"
      end)
    end)
  end)

  it("that was forgotten is collected, with its processes", function()
    for _ = 1, 3 do pools.new("process"):apply(square, { 2 }) end
    do
      local started = pools.signal()
      pools.new("process"):apply_async(function()
        started:increment()
        loop()
      end)
      pools.await(started)
    end
    pools.wait_until(function()
      pools.collect()
      return #processes.workers() == 0
    end, "workers to end")
  end)

  it("whose workers all died ends as others do", function()
    ends(function(pool)
      local pids = processes.of(pool)
      processes.signal("KILL", pids)
      processes.await_end(pids)
      pool:close()
      pool:join()
    end)
    ends(function(pool)
      local pids = processes.of(pool)
      processes.signal("KILL", pids)
      pools.stop(pool)
    end)
  end)

  it("finishes its jobs when a worker dies after close", function()
    ends(function(pool)
      local result = pool:map_async(function(i)
        if i % 4 == 0 then processes.die() end
        return i
      end, tm.range(16), { errors = "collect" })
      pool:close()
      pool:join()
      assert.equal(4, #result:get().errors)
    end)
  end)

  it("leaks nothing, made and ended " .. POOLS .. " times", function()
    local function once(i)
      local pool = pools.new("process")
      assert.equal(49, pool:map(square, { 3, 7 })[2])
      if i % 2 == 0 then pool:close() else pool:terminate() end
      pool:join()
    end
    for i = 1, 4 do once(i) end
    pools.collect()
    local descriptors = processes.descriptors()
    local entries, before = core.store_count(), core.arena_stats()
    for i = 1, POOLS do once(i) end
    pools.collect()
    assert.equal(descriptors, processes.descriptors())
    assert.same({}, processes.workers())
    assert.equal(entries, core.store_count())
    local after = core.arena_stats()
    assert.is_true(after.blocks <= before.blocks,
      ("%d blocks, before %d"):format(after.blocks, before.blocks))
    assert.is_true(after.used <= before.used)
  end)

  it("leaks nothing, though a worker held many jobs", function()
    local function once(jobs)
      local pool = pools.new("process", { workers = 1 })
      local streams = {}
      for i = 1, jobs do
        streams[i] = table.pack(pool:imap(square, tm.range(100)))
        assert.equal(1, streams[i][1](streams[i][2], streams[i][3]))
      end
      pools.stop(pool)
    end
    local function blocks_after(jobs)
      once(jobs)
      pools.collect()
      return core.arena_stats().blocks
    end
    blocks_after(40)
    assert.equal(blocks_after(1), blocks_after(40))
  end)

  it("alternates with pools of threads", function()
    for i = 1, TURNS do
      local kind, other = "thread", "process"
      if i % 2 == 0 then kind, other = other, kind end
      local outer <close> = pools.new(kind)
      local result = outer:map_async(square, tm.range(50))
      local inner <close> = pools.new(other)
      assert.equal(2500, inner:map(square, tm.range(50))[50])
      assert.equal(2500, result:get()[50])
    end
  end)
end)

-- Runs a script that says who its workers are, and ends somehow. Answers the
-- outcome, with no worker left.
local function ends(text, status)
  local outcome = child.run([[
    local tm = require "tidemill"
    local function pid()
      local file <close> = io.open "/proc/self/stat"
      return file:read "n"
    end
    local script = pid()
    local here = tm.Counter(1 << 40)
    local pool = tm.Pool { kind = "process", workers = 2 }
    local workers = pool:map(function()
      here:increment()
      while here:value() < 2 do end
      return pid()
    end, { 1, 2 }, 1)
    print("workers", workers[1], workers[2])
    io.stdout:flush()
    local started = tm.Counter(1 << 40)
    local function busy(i)
      if i <= 3 then return i end
      started:increment()
      while true do end
    end
    local function keep_busy()
      pool:map_async(busy, tm.range(10), 1)
      while started:value() < 2 do end
    end
    -- Sends the script a signal once both workers are busy in its map.
    local function when_busy(signal)
      local path = os.tmpname()
      os.execute(("(while [ -e %s ]; do sleep 0.01; done; kill -%s %d) &")
        :format(path, signal, script))
      return function(i)
        if i <= 3 then return i end
        started:increment()
        while started:value() < 2 do end
        os.remove(path)
        while true do end
      end
    end
    ]] .. text .. "\nlocal _ = keep_busy, when_busy, busy", {
    env = { "TMPDIR=.", table.unpack(child.crashes) } })
  local a, b = outcome.out:match "^workers\t(%d+)\t(%d+)\n"
  assert.is_string(a, outcome.err)
  processes.await_end { tonumber(a), tonumber(b) }
  assert.equal(status, outcome.status, outcome.err)
  outcome.out = outcome.out:gsub("^[^\n]*\n", "")
  return outcome
end

describe("a script with busy worker processes", function()
  it("may come to its end", function()
    assert.equal("", ends("keep_busy()", 0).err)
    assert.equal("", ends("", 0).err)
  end)

  it("may end by an error", function()
    local outcome = ends("keep_busy() error 'the end'", 1)
    assert.match("^tidemill: main.lua:%d+: the end\nstack traceback:",
      outcome.err)
  end)

  it("may end by os.exit", function()
    ends("keep_busy() os.exit(7)", 7)
    ends("keep_busy() os.exit(7, true)", 7)
    ends("os.exit(0)", 0)
  end)

  it("may end by SIGTERM or SIGKILL, or crash", function()
    ends("keep_busy() io.popen('kill -TERM $PPID'):close() while true do end",
      143)
    ends("keep_busy() io.popen('kill -KILL $PPID'):close() while true do end",
      137)
    ends("io.popen('kill -KILL $PPID'):close() while true do end", 137)
    ends("keep_busy() io.popen('kill -SEGV $PPID'):close() while true do end",
      139)
  end)

  it("may end in the middle of a map", function()
    ends("pool:map(when_busy 'TERM', tm.range(10), 1)", 143)
    ends("pool:map(when_busy 'KILL', tm.range(10), 1)", 137)
  end)

  it("is interrupted by one error, which says how far it was", function()
    local outcome = ends("pool:map(when_busy 'INT', tm.range(10), 1)", 1)
    assert.match("^tidemill: interrupted with 3 of 10 items done\n",
      outcome.err)
    assert.is_nil(outcome.err:find "worker_died")
  end)

  it("is told how far a loop over results was", function()
    local outcome = ends("for _ in pool:imap(when_busy 'INT', tm.range(10)) "
      .. "do end", 1)
    assert.equal("tidemill: interrupted with 3 items done\n", outcome.err)
  end)

  it("may go on after that", function()
    local outcome = ends([[
      local ok, e = pcall(pool.map, pool, when_busy "INT", tm.range(10), 1)
      print(ok, e.kind, e.message, e.results[3])
      print(pool:map(math.sqrt, { 4, 9 })[2])
      pool:close()
      pool:join()
    ]], 0)
    assert.equal("false\tinterrupted\tinterrupted with 3 of 10 items done\t3\n"
      .. "3.0\n", outcome.out)
    assert.equal("", outcome.err)
  end)

  it("may get Ctrl-C together with its workers", function()
    local outcome = ends([[
      os.execute(("kill -INT %d %d"):format(workers[1], workers[2]))
      print(pool:map(math.sqrt, { 4, 9 })[2])
      local ok, e = pcall(pool.map, pool, when_busy(("INT %d %d"):format(
        workers[1], workers[2])), tm.range(10), 1)
      print(ok, e.kind)
    ]], 0)
    assert.equal("3.0\nfalse\tinterrupted\n", outcome.out)
  end)

  -- The kernel tells it to the children of the main thread alone.
  it("may be killed while others than its main thread have some", function()
    local outcome = child.run(([[
      local tm = require "tidemill"
      local threads = tm.Pool { kind = "thread", workers = 1 }
      local busy = tm.Counter(1 << 40)
      local result = threads:apply_async(function()
        local tm = require "tidemill"
        local pool = tm.Pool { kind = "process", workers = 1,
                               start_method = %q }
        print(pool:apply(function()
          return io.open "/proc/self/stat":read "n"
        end))
        io.stdout:flush()
        pool:apply(function()
          busy:increment()
          while true do end
        end)
      end)
      while busy:value() == 0 and not result:ready() do end
      io.popen("kill -KILL $PPID"):close()
      while true do end
    ]]):format(pools.start_method))
    assert.equal(137, outcome.status, outcome.err)
    processes.await_end { assert(tonumber(outcome.out), outcome.err) }
  end)

  it("leaves nothing in folders", function()
    local outcome = ends([[
      local function shared()
        local found = ""
        for line in io.lines "/proc/self/maps" do
          local path = line:match "rw%-s.*(/.*)$"
          if path and not path:find "memfd" then found = found .. path end
        end
        return found
      end
      tm.array("f64", 1 << 20):fill(1)
      print("script", shared())
      print("worker", pool:apply(shared))
      print("files", (io.popen("ls -A"):read "a":gsub("\n", " ")))
    ]], 0)
    assert.equal("script\t\nworker\t\nfiles\terr main.lua out \n",
      outcome.out)
  end)
end)

-- A library may fork, and its child collects garbage or closes the state.
describe("a child that somebody else forked", function()
  if not pcall(tm.cfunction, nil, "int fork(void)") then
    return pending "calls fork through libffi"
  end

  -- Runs `text` in such a child; then all that the script has is as it was. A
  -- search for leaks would miss the parent's threads there.
  local function leaves_alone(text)
    local outcome = child.run([[
      local tm = require "tidemill"
      local fork = tm.cfunction(nil, "int fork(void)")
      local wait = tm.cfunction(nil, "int wait(int *)")
      local status = tm.array("i32", 1)
      local own = tm.Pool { kind = "process", workers = 1 }
      local threads, shared = tm.thread_pool(), tm.process_pool()
      local key, numbers = tm.glob_store { 5 }, tm.array { 1, 2 }
      local pools = { own, threads, shared }
      for _, pool in ipairs(pools) do pool:apply(math.sqrt, { 4 }) end
      io.stdout:flush()
      local pid = fork()
      if pid == 0 then
        ]] .. text .. [[

      end
      while wait(status) ~= pid do end
      print("child", status[1])
      collectgarbage()
      for _, pool in ipairs(pools) do
        print(pool:apply(function()
          return numbers[2] + tm.glob_read(key)[1]
        end))
      end
    ]], { env = { "ASAN_OPTIONS=detect_leaks=0" } })
    assert.equal("child\t0\n7.0\n7.0\n7.0\n", outcome.out, outcome.err)
    assert.equal(0, outcome.status)
    return outcome
  end

  it("may collect its pools", function()
    leaves_alone [[
      own, threads, shared, pools, key, numbers = nil
      collectgarbage()
      collectgarbage()
      os.exit(0)
    ]]
  end)

  it("may close the state", function()
    leaves_alone "os.exit(0, true)"
  end)

  it("may come to the end of the script", function()
    leaves_alone "do return end"
  end)

  it("has no pools", function()
    local outcome = leaves_alone [[
      for i, make in ipairs { tm.thread_pool, tm.process_pool, tm.Pool } do
        local ok, e = pcall(make, i == 3 and {} or nil)
        if ok or not tostring(e):find "not forked by tidemill" then
          io.stderr:write(i, tostring(e))
        end
      end
      if pcall(own.apply, own, math.sqrt, { 4 }) then os.exit(1) end
      if tm.FakePool():apply(math.sqrt, { 4 }) ~= 2 then os.exit(1) end
      os.exit(0)
    ]]
    assert.equal("", outcome.err)
  end)
end)
