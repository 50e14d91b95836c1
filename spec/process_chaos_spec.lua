-- Worker processes that die at bad moments, seen from a script: nothing
-- hangs, nothing is lost but the item that a worker died of.

local tm = require "tidemill"
local child = require "spec.support.child"
local pools = require "spec.support.pools"

local os = os

local function die() os.execute "kill -9 $PPID" end

local function square(x) return x * x end

local function numbers(n)
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end

describe("a pool of processes", function()
  local pool

  before_each(function() pool = pools.new "process" end)
  after_each(function() pools.stop(pool) end)

  it("serves jobs that have no place in its ring after all workers died",
    function()
      local deaths = pools.signal()
      local function die_together(all)
        all:increment()
        while all:value() < 4 do os.execute "sleep 0.02" end
        os.execute "kill -9 $PPID"
      end
      for _ = 1, 2 do pool:apply_async(die_together, { deaths }) end
      pools.await(deaths, 2)
      local last
      for i = 1, 17000 do last = pool:apply_async(square, { i }) end
      deaths:increment(2)
      assert.equal(17000 * 17000, last:get())
    end)

  it("is refilled by a script that only polls", function()
    local answer
    for _ = 1, 2 do pool:apply_async(die) end
    pool:apply_async(square, { 7 }, { callback = function(x) answer = x end })
    pools.wait_until(function()
      tm.poll()
      return answer
    end, "the callback")
    assert.equal(49, answer)
  end)

  it("is refilled by a script that asks whether a result is ready", function()
    for _ = 1, 2 do pool:apply_async(die) end
    local result = pool:apply_async(square, { 7 })
    pools.wait_until(function() return result:ready() end, "the result")
    assert.equal(49, result:get())
  end)

  it("does not kill a worker whose items are each a little late", function()
    local results = pool:map(function() os.execute "sleep 0.05" end,
      numbers(20), { timeout = 0.001, errors = "collect", chunksize = 20 })
    for i = 1, 20 do
      assert.equal("timeout", results[i].kind)
      assert.not_matches("killed", results[i].message)
    end
  end)

  it("serves two pools at once, waited for by turns", function()
    local other = pools.new "process"
    local function risky(i)
      if i % 10 == 0 then os.execute "kill -9 $PPID" end
      return i
    end
    local a = pool:map_async(risky, numbers(50), { errors = "collect" })
    local b = other:map_async(risky, numbers(50), { errors = "collect" })
    local of_b, of_a = b:get(pools.DEADLINE), a:get(pools.DEADLINE)
    pools.stop(other)
    for i = 1, 50 do
      for _, results in ipairs { of_a, of_b } do
        if i % 10 == 0 then
          assert.equal("worker_died", results[i].kind)
        else
          assert.equal(i, results[i])
        end
      end
    end
  end)
end)

describe("processes beside threads", function()
  it("are forked, however young the threads are", function()
    for i = 1, 40 do
      local threads, processes = pools.new "thread", pools.new "process"
      assert.equal(i * i, processes:apply(square, { i }))
      assert.equal(i * i, threads:apply(square, { i }))
      pools.stop(processes)
      pools.stop(threads)
    end
  end)
end)

if not pcall(tm.cfunction, nil, "int kill(int, int)") then return end

local CRASH <const> = child.sanitized and '"term"' or "nil"

describe("workers that die at any moment", function()
  local function stress(arguments, prefix)
    local file = assert(io.open "spec/stress/process_chaos.lua")
    local text = file:read "a"
    file:close()
    local outcome = child.run("arg = { " .. arguments .. " }\n" .. text,
      { prefix = prefix })
    assert.equal(0, outcome.status, outcome.out .. outcome.err)
    assert.matches("%d+ rounds", outcome.out)
  end

  it("take nothing with them but their items", function()
    stress("nil, 2, nil, " .. CRASH)
  end)

  it("take nothing with them on one CPU", function()
    stress("nil, 1, 4, " .. CRASH, "taskset -c 0")
  end)
end)
