-- Turning parallelism off: as a guard, around a function, by configuration.

local tm = require "tidemill"
local faults = require "spec.support.faults"
local child = require "spec.support.child"

local function is_fake(pool) return tostring(pool):find("fake", 1, true) end

describe("no_parallel as a guard", function()
  it("makes pools fake while the block lasts", function()
    assert.is_true(tm.parallel_enabled())
    assert.is_falsy(is_fake(tm.thread_pool()))
    do
      local _ <close> = tm.no_parallel()
      assert.is_false(tm.parallel_enabled())
      assert.is_truthy(is_fake(tm.thread_pool()))
      assert.is_truthy(is_fake(tm.process_pool()))
      assert.is_truthy(is_fake(tm.process_pool(true)))
    end
    assert.is_true(tm.parallel_enabled())
    assert.is_falsy(is_fake(tm.thread_pool()))
  end)

  it("nests", function()
    do
      local _ <close> = tm.no_parallel()
      do
        local _ <close> = tm.no_parallel()
        assert.is_false(tm.parallel_enabled())
      end
      assert.is_false(tm.parallel_enabled())
    end
    assert.is_true(tm.parallel_enabled())
  end)

  it("is undone by an error, by break and by return", function()
    faults.of(function()
      local _ <close> = tm.no_parallel()
      error "left"
    end)
    assert.is_true(tm.parallel_enabled())
    while true do -- luacheck: ignore 512
      local _ <close> = tm.no_parallel()
      break
    end
    assert.is_true(tm.parallel_enabled())
    assert.is_false((function()
      local _ <close> = tm.no_parallel()
      return tm.parallel_enabled()
    end)())
    assert.is_true(tm.parallel_enabled())
  end)

  it("leaves pools that exist, and Pool, as they are", function()
    local pool = tm.thread_pool()
    local _ <close> = tm.no_parallel()
    assert.is_falsy(is_fake(pool))
    assert.equal(4, pool:apply(function(x) return x * x end, { 2 }))
  end)

  it("runs tasks in the script's own state", function()
    local seen = {}
    local _ <close> = tm.no_parallel()
    tm.thread_pool():map(function(i) seen[i] = true end, { 1, 2 })
    assert.same({ true, true }, seen)
  end)
end)

describe("no_parallel around a function", function()
  it("passes arguments and returns all results", function()
    assert.same({ false, 1, nil, n = 3 },
      table.pack(tm.no_parallel(function(a, b)
        return tm.parallel_enabled(), a, b
      end, 1, nil)))
    assert.is_true(tm.parallel_enabled())
  end)

  it("is undone by an error, which it passes on", function()
    local fault = {}
    assert.equal(fault, faults.of(tm.no_parallel, error, fault))
    assert.is_true(tm.parallel_enabled())
  end)

  it("nests", function()
    tm.no_parallel(function()
      tm.no_parallel(function() end)
      assert.is_false(tm.parallel_enabled())
    end)
    assert.is_true(tm.parallel_enabled())
  end)

  it("wants a function", function()
    faults.at_line("bad argument #1 to 'no_parallel' (function expected, got number)",
      function() tm.no_parallel(3) end)
    assert.is_true(tm.parallel_enabled())
  end)
end)

describe("a FakePool", function()
  it("is to be had by name", function()
    local pool <close> = tm.FakePool()
    assert.is_truthy(is_fake(pool))
    assert.equal(1, #pool)
  end)

  it("passes values themselves, not copies", function()
    local item = {}
    assert.equal(item, tm.FakePool():map(function(x) return x end,
      { item })[1])
  end)

  it("runs callbacks when the script waits, not before", function()
    local called = false
    local result = tm.FakePool():apply_async(function() return 1 end, nil, {
      callback = function() called = true end
    })
    assert.is_false(called)
    result:wait()
    assert.is_true(called)
  end)

  it("may be used in a task of its own", function()
    local pool = tm.FakePool()
    assert.same({ 2, 4, n = 2 }, pool:map(function(i)
      return pool:apply(function(x) return x * 2 end, { i })
    end, { 1, 2 }))
  end)
end)

describe("parallel = false", function()
  local script = [[
    local tm = require "tidemill"
    print(tm.parallel_enabled(), (tostring(tm.thread_pool()):match "fake"))
    print(tm.thread_pool():map(function(x) return x * x end, { 3 })[1])
  ]]

  it("turns it off from config.lua, the environment and configure",
    function()
      for _, options in ipairs {
        { files = { ["config.lua"] = "return { parallel = false }" } },
        { env = { "TIDEMILL_PARALLEL=no" } },
      } do
        local outcome = child.run(script, options)
        assert.equal("false\tfake\n9\n", outcome.out)
      end
      local outcome = child.run(
        'require("tidemill").configure { parallel = false }\n' .. script)
      assert.equal("false\tfake\n9\n", outcome.out)
    end)
end)
