-- What is wrong with a call is said at the caller's line, before anything
-- runs: types, counts, spellings.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"

local function square(x) return x * x end

-- Each case: the options, and what is said of them.
local OPTIONS = {
  { { chunksise = 1 }, "unknown option 'chunksise' (did you mean 'chunksize'?)" },
  { { calback = type }, "unknown option 'calback' (did you mean 'callback'?)" },
  { { retry = 1 }, "unknown option 'retry' (did you mean 'retries'?)" },
  { { "x" }, "unknown option '1' (allowed: callback, chunksize, "
    .. "error_callback, errors, kwds, name, out, progress, retries, seed, "
    .. "timeout)" },
  { { chunksize = 0 }, "option 'chunksize' must be a whole number from 1 (got 0)" },
  { -3, "option 'chunksize' must be a whole number from 1 (got -3)" },
  { 2.5, "option 'chunksize' must be a whole number from 1 (got 2.5)" },
  { "4", 'options must be a table or a chunksize (got "4")' },
  { true, "options must be a table or a chunksize (got true)" },
  { type, "options must be a table or a chunksize (got a function)" },
  { { callback = 1 }, "option 'callback' must be a function (got 1)" },
  { { error_callback = {} },
    "option 'error_callback' must be a function (got a table)" },
  { { kwds = 1 }, "option 'kwds' must be a table (got 1)" },
  { { progress = "yes" },
    "option 'progress' must be true or false (got \"yes\")" },
  { { seed = 1.5 }, "option 'seed' must be a whole number (got 1.5)" },
  { { timeout = 0 },
    "option 'timeout' must be a number of seconds above 0 (got 0)" },
  { { timeout = -1.5 },
    "option 'timeout' must be a number of seconds above 0 (got -1.5)" },
  { { timeout = "1" },
    "option 'timeout' must be a number of seconds above 0 (got \"1\")" },
  { { retries = -1 }, "option 'retries' must be a whole number from 0 (got -1)" },
  { { retries = 0.5 },
    "option 'retries' must be a whole number from 0 (got 0.5)" },
  { { errors = "ignore" },
    "option 'errors' must be \"raise\" or \"collect\" (got \"ignore\")" },
  { { out = {} }, "option 'out' must be an array (got a table)" },
  { { name = 5 }, "option 'name' must be a string (got 5)" },
}

local METHODS = { "map", "map_async", "starmap", "starmap_async", "imap",
                  "imap_unordered", "apply", "apply_async" }

for _, kind in ipairs(pools.kinds) do
  describe("a " .. kind .. " pool refuses", function()
    local pool

    setup(function() pool = pools.new(kind) end)
    teardown(function() pools.stop(pool) end)

    it("what is no function, in each method", function()
      for _, method in ipairs(METHODS) do
        local text = "bad argument #1 to '" .. method
          .. "' (function or task expected, got "
        faults.at_line(text .. "nil)", function() pool[method](pool, nil, {}) end)
        faults.at_line(text .. "number)", function() pool[method](pool, 1, {}) end)
        faults.at_line(text .. "table)", function() pool[method](pool, {}, {}) end)
      end
    end)

    it("what are no items, in each method", function()
      for i = 1, 6 do
        local method = METHODS[i]
        local text = "bad argument #2 to '" .. method .. "' (a sequence, "
          .. "a tm.range, an array or an iterator function expected, got "
        faults.at_line(text .. "nil)", function() pool[method](pool, square) end)
        faults.at_line(text .. "string)", function() pool[method](pool, square, "abc") end)
        faults.at_line(text .. "boolean)", function() pool[method](pool, square, true) end)
      end
    end)

    it("what are no arguments", function()
      for i = 7, 8 do
        local method = METHODS[i]
        faults.at_line("bad argument #2 to '" .. method
          .. "' (table of arguments expected, got number)",
          function() pool[method](pool, square, 5) end)
      end
    end)

    it("an n that is no count", function()
      for _, method in ipairs(METHODS) do
        local text = "bad argument #2 to '%s' (its 'n' is %s, not a count of items)"
        for _, n in ipairs { -1, 1.5, "x" } do
          faults.at_line(text:format(method, n),
            function() pool[method](pool, square, { n = n }) end)
        end
      end
    end)

    it("options, in each method, before anything runs", function()
      local ran = pools.signal()
      for _, method in ipairs(METHODS) do
        local function f() ran:increment() end
        for _, case in ipairs(OPTIONS) do
          faults.at_line(case[2], function() pool[method](pool, f, { {} }, case[1]) end)
        end
      end
      assert.equal(0, ran:value())
    end)

    it("an own self", function()
      faults.at_line("bad self for 'map' (a pool expected, got table): "
        .. "call it as pool:map(...)", function() pool.map({}, square, { 1 }) end)
    end)

    it("times that are none", function()
      local result = pool:apply_async(square, { 2 })
      for _, method in ipairs { "get", "wait" } do
        faults.at_line("timeout must be a number of seconds (got x)",
          function() result[method](result, "x") end)
      end
      assert.equal(4, result:get())
    end)

    it("kernels that are none", function()
      for _, method in ipairs { "run", "run_async" } do
        faults.at_line(("bad argument #1 to '%s' (kernel expected, got string)")
          :format(method), function() pool[method](pool, "stencil", 10) end)
      end
    end)

    it("nothing that is whole: n, chunksize and seed may be floats", function()
      assert.same({ 1, n = 1 }, pool:map(square, { 1, 2, n = 1.0 }, 2.0))
      assert.same({ 1, n = 1 }, pool:map(square, { 1 }, { seed = 3.0 }))
      assert.same({ 1, n = 1 }, pool:map(square, { 1 },
        { timeout = math.huge, retries = 0.0 }))
    end)
  end)
end

describe("tm.Pool refuses", function()
  it("what is no table", function()
    faults.at_line("bad argument #1 to 'Pool' (table expected, got nil)",
      function() tm.Pool() end)
    faults.at_line("bad argument #1 to 'Pool' (table expected, got number)",
      function() tm.Pool(4) end)
  end)

  it("options that do not exist", function()
    faults.at_line("unknown option 'worker' (did you mean 'workers'?)",
      function() tm.Pool { worker = 2 } end)
    faults.at_line("unknown option 'initialiser' (did you mean 'initializer'?)",
      function() tm.Pool { initialiser = type } end)
  end)

  it("numbers of workers, of items and of bytes that are none", function()
    for _, name in ipairs { "workers", "max_tasks_per_child",
                            "max_memory_per_child" } do
      local text = "option '" .. name .. "' must be a whole number from 1 (got "
      for _, bad in ipairs { 0, -1, 0.5, "12", false } do
        local shown = type(bad) == "string" and '"12"' or tostring(bad)
        faults.at_line(text .. shown .. ")", function() tm.Pool { [name] = bad } end)
      end
    end
    faults.at_line("option 'workers' must be at most 4095 (got 1000000)",
      function() tm.Pool { workers = 1000000 } end)
  end)

  it("words that are none", function()
    faults.at_line("option 'kind' must be \"thread\", \"process\" or \"fake\" "
      .. "(got \"threads\"; did you mean \"thread\"?)",
      function() tm.Pool { kind = "threads" } end)
    faults.at_line("option 'kind' must be \"thread\", \"process\" or \"fake\" (got 1)",
      function() tm.Pool { kind = 1 } end)
    faults.at_line("option 'start_method' must be \"auto\", \"fork\" or \"spawn\" "
      .. "(got \"forc\"; did you mean \"fork\"?)",
      function() tm.Pool { start_method = "forc" } end)
    faults.at_line("option 'pin' must be true, false or \"auto\" (got yes)",
      function() tm.Pool { pin = "yes" } end)
  end)

  it("initializers and arguments that are none", function()
    faults.at_line("option 'initializer' must be a function (got 1)",
      function() tm.Pool { initializer = 1 } end)
    faults.at_line("option 'initargs' must be a table (got \"x\")",
      function() tm.Pool { initargs = "x" } end)
  end)
end)

describe("tm.range refuses", function()
  it("what is no number", function()
    faults.at_line("bad argument #1 to 'range' (number expected, got nil)",
      function() tm.range() end)
    faults.at_line("bad argument #2 to 'range' (number expected, got string)",
      function() tm.range(1, "2") end)
    faults.at_line("bad argument #2 to 'range' (a finite number expected)",
      function() tm.range(1, math.huge) end)
    faults.at_line("bad argument #3 to 'range' ('step' is zero)",
      function() tm.range(1, 2, 0) end)
  end)

  it("nothing else: lengths, elements, ends", function()
    local r = tm.range(2, 9, 3)
    assert.same({ 3, 2, 5, 8, nil, nil }, { #r, r[1], r[2], r[3], r[4], r[0] })
    assert.equal(11, #tm.range(0, 1, 0.1))
    assert.equal(0, #tm.range(1, 0))
    assert.equal("tidemill.range (3 from 2 step 3)", tostring(r))
  end)
end)
