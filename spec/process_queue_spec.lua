-- More calls than the ring of a pool of processes has places for.

local pools = require "spec.support.pools"

local MANY <const> = 20000 -- TM__RING in src/run/hub.h is 16384

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
