-- How pools and their workers end: close, terminate, join, blocks, the
-- collector, limits for a worker's life, and the end of the script.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"
local child = require "spec.support.child"

local error, table = error, table

local function square(x) return x * x end
local function loop() while true do end end -- luacheck: ignore

for _, kind in ipairs(pools.kinds) do
  describe("a " .. kind .. " pool", function()
    it("that is closed finishes its jobs, and takes no more", function()
      local pool = pools.new(kind)
      local results = {}
      for i = 1, 20 do results[i] = pool:map_async(square, { i, i }) end
      pool:close()
      for _, method in ipairs { "map", "map_async", "starmap", "apply",
                                "starmap_async", "apply_async", "imap",
                                "imap_unordered" } do
        local e = faults.of(pool[method], pool, square, {})
        assert.match(method .. ": the pool is closed", tostring(e), 1, true)
      end
      faults.at_line("map: the pool is closed", function() pool:map(square, { 1 }) end)
      faults.at_line("imap: the pool is closed", function() pool:imap(square, { 1 }) end)
      pool:join()
      for i = 1, 20 do assert.equal(i * i, results[i]:get()[2]) end
      assert.match("closed", tostring(pool))
    end)

    it("that is terminated takes no more", function()
      local pool = pools.new(kind)
      pool:terminate()
      local e = faults.of(pool.map, pool, square, { 1 })
      assert.match("map: the pool is closed", tostring(e), 1, true)
      pool:join()
      assert.match("terminated", tostring(pool))
    end)

    it("may be closed, terminated and joined again", function()
      local pool = pools.new(kind)
      pool:close()
      pool:close()
      pool:join()
      pool:join()
      pool:terminate()
      pool:join()
    end)

    it("cannot be joined while it is open", function()
      local pool <close> = pools.new(kind)
      faults.at_line("join: the pool is still open; close or terminate it first",
        function() pool:join() end)
    end)

    it("lets an empty pool go", function()
      local pool = pools.new(kind)
      pool:map(square, {})
      pool:close()
      pool:join()
    end)

    it("in a block is joined at its end", function()
      local kept, result
      do
        local pool <close> = pools.new(kind)
        kept, result = pool, pool:map_async(square, { 1, 2, 3 })
      end
      assert.same({ 1, 4, 9, n = 3 }, result:get())
      assert.match("closed", tostring(kept))
    end)

    it("in a block that an error ends is terminated", function()
      local kept
      local e = faults.of(function()
        local pool <close> = pools.new(kind)
        kept = pool
        error("left", 0)
      end)
      assert.equal("left", e)
      assert.match("terminated", tostring(kept))
    end)

    it("has run its initializer first, with its arguments", function()
      local pool <close> = pools.new(kind, {
        initializer = function(...) pools.given = table.pack(...) end,
        initargs = { "a", nil, 3, n = 3 },
      })
      assert.same({ "a", nil, 3, n = 3 },
        pool:apply(function() return pools.given end))
      pools.given = nil
    end)
  end)
end

for _, kind in ipairs(pools.concurrent) do
  describe("a " .. kind .. " pool", function()
    it("that is terminated stops what runs and what waits", function()
      local pool, started = pools.new(kind), pools.signal()
      local ran = pools.signal()
      local result = pool:map_async(function()
        ran:increment()
        started:increment()
        loop()
      end, tm.range(10000), 1)
      pools.await(started, 2)
      pool:terminate()
      pool:join()
      faults.kind("cancelled", result.get, result)
      assert.equal(2, ran:value())
    end)

    it("in a block that an error ends does not wait for its jobs", function()
      local result
      faults.of(function()
        local pool <close> = pools.new(kind)
        local started = pools.signal()
        result = pool:apply_async(function()
          started:increment()
          loop()
        end)
        pools.await(started)
        error "left"
      end)
      faults.kind("cancelled", result.get, result)
    end)

    it("waits for callbacks and errors of jobs when it is joined", function()
      local calls = {}
      do
        local pool <close> = pools.new(kind)
        pool:map_async(function(i) error(i, 0) end, { 1, 2 }, {
          error_callback = function(e) calls[#calls + 1] = e.item end
        })
      end
      assert.same({ 1 }, calls)
    end)

    it("that was forgotten is collected, with its workers", function()
      local function threads()
        local pipe = io.popen("ls /proc/$PPID/task | wc -l")
        local n = pipe:read "n"
        pipe:close()
        return n
      end
      pools.collect()
      local before = threads()
      for _ = 1, 20 do pools.new(kind):apply(square, { 2 }) end
      pools.collect()
      pools.wait_until(function()
        pools.collect()
        return threads() <= before
      end, "threads to end")
    end)

    it("that was forgotten while it is busy is collected too", function()
      local started = pools.signal()
      do
        local pool = pools.new(kind)
        pool:apply_async(function()
          started:increment()
          loop()
        end)
        pools.await(started)
      end
      pools.collect()
    end)

    it("serves items in fresh workers after max_tasks_per_child", function()
      local births = pools.signal()
      local pool <close> = pools.new(kind, {
        workers = 1, max_tasks_per_child = 5,
        initializer = function(signal) signal:increment() end,
        initargs = { births },
      })
      local list = pool:map(square, tm.range(20), 1)
      for i = 1, 20 do assert.equal(i * i, list[i]) end
      pool:close()
      pool:join()
      assert.is_true(births:value() >= 4 and births:value() <= 5,
        tostring(births:value()))
    end)

    it("counts items of chunks, too", function()
      local births = pools.signal()
      local pool <close> = pools.new(kind, {
        workers = 1, max_tasks_per_child = 5,
        initializer = function(signal) signal:increment() end,
        initargs = { births },
      })
      pool:map(square, tm.range(100), 50)
      assert.is_true(births:value() >= 2)
    end)

    it("may be closed before its short-lived workers are done", function()
      local pool = pools.new(kind, { max_tasks_per_child = 1 })
      local results = {}
      for i = 1, 12 do results[i] = pool:apply_async(square, { i }) end
      pool:close()
      pool:join()
      for i = 1, 12 do assert.equal(i * i, results[i]:get()) end
    end)

    it("replaces workers that hold too much memory", function()
      local births = pools.signal()
      local pool <close> = pools.new(kind, {
        workers = 1, max_memory_per_child = 4 << 20,
        initializer = function(signal) signal:increment() end,
        initargs = { births },
      })
      local hoard = {}
      local grow = tm.task("grow", function()
        hoard[#hoard + 1] = ("x"):rep(8 << 20)
        return #hoard
      end)
      assert.same({ 1, 1, 1, 1, n = 4 }, pool:map(grow, { 1, 2, 3, 4 }, 1))
      assert.is_true(births:value() >= 4)
    end)

    it("fails all items when its initializer fails", function()
      local pool = pools.new(kind, {
        initializer = function() error("no licence", 0) end
      })
      for _ = 1, 2 do
        local e = faults.of(pool.map, pool, square, { 1, 2 })
        assert.match("the pool's initializer failed: no licence",
          tostring(e), 1, true)
      end
      pools.stop(pool)
    end)

    it("says at once when its initializer cannot travel", function()
      local file <close> = io.tmpfile()
      local e = faults.kind("send", tm.Pool, {
        kind = kind, initializer = function() return file end
      })
      assert.match("file", e.message, 1, true)
      assert.match("FILE*", e.message, 1, true)
    end)
  end)

  describe("the shared " .. kind .. " pool", function()
    local shared = tm[kind .. "_pool"]

    it("is one", function()
      assert.equal(shared(), shared())
      assert.equal(tm.config.threads == "auto" and #shared() or
        tm.config.threads, #shared())
    end)

    it("is replaced after it was closed", function()
      local first = shared()
      do
        local pool <close> = shared()
        assert.equal(4, pool:apply(square, { 2 }))
      end
      assert.not_equal(first, shared())
      assert.equal(4, shared():apply(square, { 2 }))
      assert.match("closed", tostring(faults.of(first.apply, first, square,
        { 2 })))
    end)

    it("outlives those who forget it", function()
      local pid = shared():apply(function()
        local t = {}
        return tostring(t)
      end)
      pools.collect()
      assert.is_string(pid)
      assert.equal(4, shared():apply(square, { 2 }))
    end)
  end)
end

describe("a script that ends", function()
  local function ends(text, status)
    local outcome = child.run('local tm = require "tidemill"\n' .. text)
    assert.equal(status, outcome.status, outcome.err)
    return outcome
  end

  local busy = [[
    local pool = tm.Pool { workers = 2 }
    local started = tm.Counter(1 << 40)
    pool:map_async(function()
      started:increment()
      while true do end
    end, tm.range(10), 1)
    while started:value() < 2 do end
  ]]

  it("does not wait for a busy pool", function()
    ends(busy, 0)
    ends(busy:gsub("tm.Pool { workers = 2 }", "tm.thread_pool()")
      :gsub("< 2", "< 1"), 0)
  end)

  it("by an error, is as without pools", function()
    local outcome = ends(busy .. 'error "the end"', 1)
    assert.match("tidemill: main.lua:%d+: the end\nstack traceback:",
      outcome.err)
    assert.equal("", outcome.out)
  end)

  it("by os.exit, has that status", function()
    ends(busy .. "os.exit(7)", 7)
    ends(busy .. "os.exit(7, true)", 7)
    ends(busy .. "os.exit(true)", 0)
  end)

  it("by a pool's error, shows it whole", function()
    local outcome = ends([[
      tm.thread_pool():map(function(i)
        if i == 2 then error "no convergence" end
      end, { 1, 2 }, { name = "solve" })
    ]], 1)
    assert.match("task 'solve', item 2: main.lua:%d+: no convergence",
      outcome.err)
  end)

  it("does not wait for what is stuck in C", function()
    local before = tm.clock()
    ends([[
      local pool = tm.Pool { workers = 2 }
      local started = tm.Counter(1 << 40)
      pool:apply_async(function()
        started:increment()
        os.execute "sleep 20"
      end)
      while started:value() < 1 do end
    ]], 0)
    assert.is_true(tm.clock() - before < 15)
  end)

  it("may have an open stream, and results that nobody took", function()
    ends([[
      stream = tm.thread_pool():imap(tostring, function() return 1 end)
      stream()
      result = tm.thread_pool():map_async(tostring, tm.range(100000))
    ]], 0)
  end)

  it("by SIGINT, is interrupted, and leaves no workers", function()
    local outcome = ends([[
      local pool = tm.Pool { workers = 2 }
      local ok, e = pcall(pool.map, pool, function(i)
        if i == 1 then io.popen("sleep 0.2; kill -INT $PPID"):close() end
        while true do end
      end, tm.range(10), 1)
      print(ok, tostring(e):match "interrupted")
      os.exit(tm.Pool { workers = 1 }:apply(function() return 5 end))
    ]], 5)
    assert.equal("false\tinterrupted\n", outcome.out)
  end)
end)
