-- Random numbers: seeded, the same whatever the pool; unseeded, not the same
-- in two workers; the script's own generator as it was.

local tm = require "tidemill"
local pools = require "spec.support.pools"

local math = math

local function draw() return math.random(1 << 40) end

-- Draws of n items in a pool of this kind.
local function draws(kind, workers, n, options)
  local pool <close> = tm.Pool { kind = kind, workers = workers }
  local list = pool:map(draw, tm.range(n), options)
  list.n = nil
  return list
end

local function distinct(list)
  local seen, count = {}, 0
  for _, x in ipairs(list) do
    if not seen[x] then count = count + 1 end
    seen[x] = true
  end
  return count
end

describe("a seed", function()
  it("gives the same numbers in all pools, workers and chunks", function()
    local expected = draws("fake", 1, 50, { seed = 7 })
    assert.equal(50, distinct(expected))
    for _, kind in ipairs(pools.kinds) do
      for _, workers in ipairs { 1, 2, 3 } do
        for _, chunksize in ipairs { 1, 7, 50 } do
          assert.same(expected, draws(kind, workers, 50,
            { seed = 7, chunksize = chunksize }))
        end
      end
    end
  end)

  it("gives an item its numbers, whatever the others draw", function()
    local pool <close> = pools.new "thread"
    local many = pool:map(function(i)
      for _ = 1, i do math.random() end
      return math.random(1 << 40)
    end, tm.range(10), { seed = 3, chunksize = 5 })
    for i = 1, 10 do
      local one = pool:map(function(k)
        if k ~= i then return nil end
        for _ = 1, k do math.random() end
        return math.random(1 << 40)
      end, tm.range(10), { seed = 3, chunksize = 1 })
      assert.equal(many[i], one[i])
    end
  end)

  it("gives others for another seed, negative ones and 0 too", function()
    local all = {}
    for _, seed in ipairs { 0, 1, 2, -1, math.mininteger, math.maxinteger } do
      local list = draws("fake", 1, 20, { seed = seed })
      table.move(list, 1, 20, #all + 1, all)
    end
    assert.equal(120, distinct(all))
  end)

  it("has first draws that are not correlated", function()
    local pool = tm.FakePool()
    local n = 4000
    local list = pool:map(function() return math.random() end, tm.range(n),
      { seed = 1 })
    for lag = 1, 3 do
      local sum, mean = 0, 0
      for i = 1, n do mean = mean + list[i] / n end
      for i = 1, n - lag do
        sum = sum + (list[i] - mean) * (list[i + lag] - mean)
      end
      local correlation = sum / (n - lag) * 12
      assert.is_true(math.abs(correlation) < 0.08, tostring(correlation))
      assert.is_true(math.abs(mean - 0.5) < 0.02)
    end
  end)

  it("seeds apply, starmap and tasks alike", function()
    for _, kind in ipairs(pools.kinds) do
      local pool <close> = pools.new(kind)
      local first = pool:map(draw, { 1 }, { seed = 9 })[1]
      assert.equal(first, pool:apply(draw, {}, { seed = 9 }))
      assert.equal(first, pool:starmap(draw, { {} }, { seed = 9 })[1])
      local task = tm.task { name = "draw", run = draw, seed = 9 }
      assert.equal(first, pool:map(task, { 1 })[1])
    end
  end)

  it("leaves the script's own generator as it was", function()
    for _, kind in ipairs(pools.kinds) do
      local pool <close> = pools.new(kind)
      math.randomseed(42)
      local expected = math.random(1 << 40)
      math.randomseed(42)
      pool:map(draw, tm.range(10), { seed = 1 })
      for _ in pool:imap(draw, tm.range(10), { seed = 1 }) do
        pools.collect()
      end
      assert.equal(expected, math.random(1 << 40))
    end
  end)

  it("leaves it as it was after errors too", function()
    math.randomseed(42)
    local expected = math.random(1 << 40)
    math.randomseed(42)
    pcall(tm.FakePool().map, tm.FakePool(), error, { 1, 2 }, { seed = 1 })
    assert.equal(expected, math.random(1 << 40))
  end)
end)

describe("without a seed", function()
  it("workers draw different numbers", function()
    local pool <close> = pools.new "thread"
    local both = pools.signal()
    local list = pool:map(function()
      both:increment()
      pools.await(both, 2)
      return math.random(1 << 40)
    end, { 1, 2 }, 1)
    assert.not_equal(list[1], list[2])
  end)

  it("pools that follow each other draw different numbers", function()
    local all = {}
    for _ = 1, 10 do
      table.move(draws("thread", 1, 5), 1, 5, #all + 1, all)
    end
    assert.equal(50, distinct(all))
  end)

  it("so do workers that replace each other", function()
    local pool <close> = tm.Pool { workers = 1, max_tasks_per_child = 1 }
    assert.equal(10, distinct(pool:map(draw, tm.range(10), 1)))
  end)

  it("a worker draws on after a seeded job, not from the seed", function()
    local pool <close> = tm.Pool { workers = 1 }
    pool:apply(draw, {}, { seed = 1 })
    local first = pool:apply(draw)
    pool:apply(draw, {}, { seed = 1 })
    assert.not_equal(first, pool:apply(draw))
  end)

  it("a FakePool draws from the script's own generator", function()
    math.randomseed(42)
    local expected = math.random(1 << 40)
    math.randomseed(42)
    assert.equal(expected, tm.FakePool():map(draw, { 1 })[1])
  end)
end)
