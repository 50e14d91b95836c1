-- Calls that wait for a worker process: more of them than the ring has places
-- for, some behind others that take long, two at a time.

local pools = require "spec.support.pools"

local os = os

local MANY <const> = 20000 -- TM__RING in src/run/hub.h is 16384

-- A task that goes on when the gate is open.
local function wait_for(gate, begun)
  begun:increment()
  pools.await(gate)
  return "waited"
end

describe("a queue longer than the ring", function()
  it("is worked off by workers that slept meanwhile", function()
    local pool <close> = pools.new("process", { workers = 1 })
    local gate, begun = pools.signal(), pools.signal()
    local first = pool:apply_async(function()
      begun:increment()
      while gate:value() == 0 do os.execute "sleep 0.002" end
      return 0
    end)
    pools.await(begun)
    local results = {}
    for i = 1, MANY do
      results[i] = pool:apply_async(function(x) return x + 1 end, { i })
    end
    gate:increment()
    assert.equal(0, first:get())
    assert.equal(MANY + 1, results[MANY]:get()) -- nobody else submits
    for i = 1, MANY, 997 do assert.equal(i + 1, results[i]:get()) end
  end)
end)

describe("calls behind some that take long", function()
  it("go on for longer than the ring", function()
    local pool <close> = pools.new("process", { workers = 3 })
    local gate, begun = pools.signal(), pools.signal()
    local long = {
      pool:apply_async(wait_for, { gate, begun }),
      pool:apply_async(wait_for, { gate, begun })
    }
    pools.await(begun, 2)
    local last
    for i = 1, MANY do
      last = pool:apply_async(function(x) return x end, { i })
      last:wait(pools.DEADLINE)
    end
    assert.equal(MANY, last:get(0))
    gate:increment()
    assert.equal("waited", long[1]:get())
    assert.equal("waited", long[2]:get())
  end)
end)

describe("two calls in a row", function()
  it("run at once, whichever worker was awake", function()
    local pool <close> = pools.new "process"
    local ROUNDS <const> = 40
    for _ = 1, ROUNDS do
      local met = pools.signal()
      local function meet()
        met:increment()
        pools.await(met, 2)
        return met:value()
      end
      pool:apply(function() end)
      local a, b = pool:apply_async(meet), pool:apply_async(meet)
      assert.equal(2, a:get(2 * pools.DEADLINE))
      assert.equal(2, b:get())
    end
  end)
end)
