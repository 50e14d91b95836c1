-- What a pool raises: one object for all errors, the first by item order,
-- with what was done; and errors as values.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

local error, getmetatable, setmetatable, tostring =
  error, getmetatable, setmetatable, tostring

local function numbers(n)
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end

-- Fails for item 3 and above, with its number.
local function fail_from_3(i)
  if i >= 3 then error("bad " .. i, 0) end
  return i
end

for _, kind in ipairs(pools.kinds) do
  describe("an error of a " .. kind .. " pool", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("says what, where and why", function()
      local function solve(i)
        if i == 2 then error("no convergence") end
        return i
      end
      local e = faults.kind("task", pool.map, pool, solve, { 1, 2, 3 })
      assert.match("^spec/errors_spec.lua:%d+: no convergence$", e.value)
      assert.equal(e.value, e.message)
      assert.equal(2, e.item)
      assert.match("errors_spec.lua:%d+: in", e.traceback)
      assert.match("solve", e.task)
    end)

    it("has one kind of object for all", function()
      local e = faults.kind("task", pool.map, pool, fail_from_3, { 3 })
      local other = faults.kind("task", pool.apply, pool, fail_from_3, { 4 })
      assert.equal(getmetatable(e), getmetatable(other))
      assert.equal("tidemill.error", getmetatable(e).__name)
    end)

    it("is shown whole by tostring", function()
      local e = faults.kind("task", pool.map, pool, fail_from_3, { 1, 7 },
        { name = "solve" })
      local text = tostring(e)
      assert.match("^task 'solve', item 2: bad 7\nstack traceback:\n", text)
      assert.match("errors_spec.lua", text, 1, true)
    end)

    it("names the task: by its name, by opts.name, else by its place",
      function()
        local solve = tm.task("solve", fail_from_3)
        assert.equal("solve", faults.of(pool.map, pool, solve, { 3 }).task)
        assert.equal("other",
          faults.of(pool.map, pool, solve, { 3 }, { name = "other" }).task)
        assert.match("errors_spec.lua:%d+",
          faults.of(pool.apply, pool, function() error "x" end).task)
      end)

    it("carries what was raised, unchanged", function()
      for _, value in ipairs { "text", 42, 4.5, false, true } do
        local e = faults.of(pool.apply, pool, function() error(value, 0) end)
        assert.equal(value, e.value)
        assert.is_string(e.message)
      end
      local e = faults.of(pool.apply, pool, function()
        error { code = 7, list = { 1, 2 } }
      end)
      assert.same({ code = 7, list = { 1, 2 } }, e.value)
      e = faults.of(pool.apply, pool, function() error() end)
      assert.is_nil(e.value)
      assert.is_string(e.message)
    end)

    it("carries objects with their class", function()
      local Fault = { __tostring = function(self)
        return "fault " .. self.code
      end }
      Fault.__index = Fault
      local e = faults.of(pool.apply, pool, function()
        error(setmetatable({ code = 7 }, Fault))
      end)
      assert.equal(Fault, getmetatable(e.value))
      assert.equal(7, e.value.code)
      assert.equal("fault 7", e.message)
      assert.match("fault 7", tostring(e), 1, true)
    end)

    it("may be an error of Lua's own", function()
      local e = faults.kind("task", pool.map, pool, function(x)
        return x.field
      end, { 1 })
      assert.match("attempt to index a number value", e.message, 1, true)
    end)

    it("has no item when it is apply's", function()
      local e = faults.kind("task", pool.apply, pool, fail_from_3, { 3 })
      assert.is_nil(e.item)
      assert.is_nil(e.results)
      assert.equal("bad 3", e.value)
    end)

    it("is the first by item order, whatever came first", function()
      local failed = pools.signal()
      for _ = 1, 20 do
        local before = failed:value()
        local e = faults.kind("task", pool.map, pool, function(i)
          if i == 3 and kind ~= "fake" then
            pools.await(failed, before + 1) -- a later one has failed
          end
          failed:increment()
          if i >= 3 then error("bad " .. i, 0) end
        end, numbers(6), 1)
        assert.equal(3, e.item)
        assert.equal("bad 3", e.value)
      end
    end)

    it("comes when all items below are done, with their results", function()
      local e = faults.kind("task", pool.map, pool, function(i)
        if i == 50 then error "bad" end
        return i
      end, numbers(1000), 1)
      assert.equal(50, e.item)
      assert.equal(1000, e.results.n)
      for i = 1, 49 do assert.equal(i, e.results[i]) end
      assert.is_nil(e.results[50])
    end)

    it("skips what nobody has begun", function()
      local ran = pools.signal()
      faults.kind("task", pool.map, pool, function(i)
        ran:increment()
        if i == 1 then error "bad" end
        pools.wait_until(function() return ran:value() >= 1 end)
      end, numbers(100000), 1)
      assert.is_true(ran:value() < 100000)
    end)

    it("of a nested call comes through", function()
      local e = faults.kind("task", pool.apply, pool, function()
        return tm.FakePool():map(fail_from_3, { 1, 3 })
      end)
      assert.equal("task", e.value.kind)
      assert.equal(2, e.value.item)
      assert.equal("bad 3", e.value.value)
      assert.equal(1, e.value.results[1])
      assert.equal(getmetatable(e), getmetatable(e.value))
    end)

    it("may be raised again as it is", function()
      local e = faults.of(pool.apply, pool, fail_from_3, { 3 })
      assert.equal(e, faults.of(tm.raiser, e))
    end)

    describe("with errors = 'collect'", function()
      local collect = { errors = "collect", chunksize = 1 }

      it("is in its item's place", function()
        local results = pool:map(fail_from_3, { 1, 5, 2, 4 }, collect)
        assert.equal(4, results.n)
        assert.equal(1, results[1])
        assert.equal(2, results[3])
        assert.same({ 2, 4 }, results.errors)
        for _, item in ipairs(results.errors) do
          assert.equal("task", results[item].kind)
          assert.equal(item, results[item].item)
        end
        assert.equal("bad 5", results[2].value)
        assert.equal("bad 4", results[4].value)
      end)

      it("is looked for in vain when there is none", function()
        assert.same({ 1, 2, n = 2, errors = {} },
          pool:map(fail_from_3, { 1, 2 }, collect))
        assert.same({ n = 0, errors = {} },
          pool:map(fail_from_3, {}, collect))
      end)

      it("costs no other item, whatever the chunks", function()
        for _, chunksize in ipairs { 1, 3, 10, 100 } do
          local results = pool:map(function(i)
            if i % 3 == 0 then error(i, 0) end
            return i
          end, numbers(100), { errors = "collect", chunksize = chunksize })
          assert.equal(33, #results.errors)
          for i = 1, 100 do
            local result = results[i]
            assert.equal(i, i % 3 == 0 and result.value or result)
          end
        end
      end)

      it("calls callback, not error_callback", function()
        local calls = {}
        pool:map(fail_from_3, { 3 }, {
          errors = "collect",
          callback = function(list) calls[#calls + 1] = list.errors[1] end,
          error_callback = function() calls[#calls + 1] = "error" end,
        })
        assert.same({ 1 }, calls)
      end)

      it("is successful", function()
        local result = pool:map_async(fail_from_3, { 3 }, collect)
        result:wait()
        assert.is_true(result:successful())
      end)
    end)
  end)
end

for _, kind in ipairs(pools.concurrent) do
  describe("an error in a " .. kind .. " worker", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("whose value cannot travel is its text", function()
      local open = coroutine.create
      local e = faults.kind("task", pool.apply, pool, function()
        error { thread = open(tostring) }
      end)
      assert.is_string(e.value)
      local shown = setmetatable({ thread = true }, {
        __tostring = function() return "a shown fault" end
      })
      e = faults.kind("task", pool.apply, pool, function()
        shown.thread = open(tostring)
        error(shown)
      end)
      assert.equal("a shown fault", e.message)
    end)

    it("may be a stack overflow, or one of error handling", function()
      local function deep() return 1 + deep() end
      local e = faults.kind("task", pool.apply, pool, deep)
      assert.match("stack overflow", e.message, 1, true)
      local worse = setmetatable({}, {
        __tostring = function() error "worse" end
      })
      faults.kind("task", pool.apply, pool, function() error(worse) end)
      assert.equal(1, pool:apply(function() return 1 end))
    end)

    it("is os.exit's", function()
      local exit = os.exit
      local e = faults.kind("task", pool.map, pool, function(i)
        if i == 2 then exit(3) end
      end, { 1, 2 })
      assert.equal(2, e.item)
      assert.match("os.exit was called in a worker", e.message, 1, true)
    end)
  end)
end
