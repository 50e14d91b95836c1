-- Functions: their upvalues, the globals that they name, their code.
-- Functions that name globals come from load, because busted gives specs an
-- environment of their own.

local tm = require "tidemill"
local core = require "tidemill.core"

local globals = package.loaded._G

--- A function whose globals are the script's.
local function chunk(code)
  return assert(load(code, "=chunk", "t", globals))
end

--- Sets globals until the guard is closed.
local function with_globals(values)
  local before = {}
  for k, v in pairs(values) do before[k], globals[k] = globals[k], v end
  return setmetatable({}, {
    __close = function()
      for k in pairs(values) do globals[k] = before[k] end
    end
  })
end

local pool

local function new_pool(n)
  return tm.Pool { kind = "thread", workers = n or 1 }
end

setup(function() pool = new_pool() end)
teardown(function()
  pool:close()
  pool:join()
end)

describe("a function", function()
  it("carries its upvalues", function()
    local a, b, c = 1, { 2 }, "three"
    assert.equal("12three", pool:apply(function() return a .. b[1] .. c end))
    local x, y = pool:apply(function()
      a = a + 1
      return a, b
    end)
    assert.equal(2, x)
    assert.same({ 2 }, y)
    assert.equal(1, a)
  end)

  it("has fresh upvalues in each job", function()
    local n = 0
    local function count() n = n + 1 return n end
    assert.same({ 1, 2, 3, n = 3 }, pool:map(count, { 0, 0, 0 }, 3))
    assert.same({ 1, 2, n = 2 }, pool:map(count, { 0, 0 }, 2))
    assert.equal(0, n)
  end)

  it("shares upvalues with the others of its message", function()
    local n = 0
    local t = {
      up = function() n = n + 1 end,
      get = function() return n end,
      nested = { up = function() n = n + 10 end },
    }
    assert.equal(11, pool:apply(function(x)
      x.up()
      x.nested.up()
      return x.get()
    end, { t }))
    assert.equal(0, t.get())
  end)

  it("shares an upvalue with a global's function", function()
    local n = 0
    local _ <close> = with_globals { tm_test_up = function() n = n + 1 end }
    local _G = globals -- what an upvalue of this value names are globals
    assert.equal(2, pool:apply(function()
      _G.tm_test_up()
      _G.tm_test_up()
      return n
    end))
  end)

  it("may call itself", function()
    local function fib(n)
      return n < 2 and n or fib(n - 1) + fib(n - 2)
    end
    assert.equal(55, pool:apply(fib, { 10 }))
  end)

  it("may call one that calls it", function()
    local odd
    local function even(n) return n == 0 or odd(n - 1) end
    function odd(n) return n ~= 0 and even(n - 1) end
    assert.is_true(pool:apply(even, { 10 }))
    assert.is_false(pool:apply(odd, { 10 }))
  end)

  it("may be of closures in loops and gotos", function()
    local list = {}
    for i = 1, 3 do
      local j = i * 10
      list[i] = function() j = j + i return j end
    end
    local sum = pool:apply(function(fs)
      local s, i = 0, 1
      ::again::
      s = s + fs[i]()
      i = i + 1
      if i <= #fs then goto again end
      return s
    end, { list })
    assert.equal(66, sum)
  end)

  it("may be nested in upvalues, deeply", function()
    local f = function() return "end" end
    for _ = 1, 1000 do
      local inner = f
      f = function() return inner end
    end
    local steps, last = pool:apply(function(g)
      local n = 0
      while true do
        local x = g()
        if x == "end" then return n, x end
        n, g = n + 1, x
      end
    end, { f })
    assert.equal(1000, steps)
    assert.equal("end", last)
  end)

  it("takes and gives varargs and nils", function()
    assert.same({ nil, 2, nil, n = 3 }, table.pack(pool:apply(function(...)
      return ...
    end, { nil, 2, nil, n = 3 })))
    assert.equal(0, select("#", pool:apply(function() end)))
    assert.equal(100, select("#", pool:apply(function(...) return ... end,
                                             { n = 100 })))
  end)

  it("may be the same twice, and two of one code", function()
    local function maker(i) return function() return i end end
    local f, g = maker(1), maker(2)
    local code = #core.pack { f }
    assert.is_true(#core.pack { f, g } < 1.5 * code)
    assert.is_true(pool:apply(function(t)
      return t[1] == t[3] and t[1] ~= t[2] and t[1]() == 1 and t[2]() == 2
    end, { { f, g, f } }))
  end)

  it("may be stripped", function()
    local f = load(string.dump(function(x) return x * 2 end, true), "=s", "b")
    assert.equal(14, pool:apply(f, { 7 }))
    local _ <close> = with_globals { tm_test_k = 3 }
    local g = load(string.dump(chunk "return tm_test_k * ...", true), "=s",
                   "b", globals)
    assert.equal(21, pool:apply(g, { 7 }))
  end)

  it("may run coroutines", function()
    local wrap, yield = coroutine.wrap, coroutine.yield
    assert.equal(6, pool:apply(function(n)
      local sum = 0
      for i in wrap(function() for i = 1, n do yield(i) end end) do
        sum = sum + i
      end
      return sum
    end, { 3 }))
  end)

  it("may have to-be-closed variables and integer loops", function()
    local set = setmetatable
    assert.equal("closed", pool:apply(function()
      local log
      do
        local _ <close> = set({}, { __close = function() log = "closed" end })
      end
      return log
    end))
  end)

  it("may come back from a worker", function()
    local add = pool:apply(function(n)
      return function(x) n = n + x return n end
    end, { 10 })
    assert.equal(15, add(5))
    assert.equal(16, add(1))
  end)

  it("may have an environment of its own", function()
    local env = setmetatable({ x = 5 }, { __index = { y = 6 } })
    local f = load("z = x + y return z, _ENV", "=env", "t", env)
    local z, back = pool:apply(f)
    assert.equal(11, z)
    assert.equal(11, back.z)
    assert.is_nil(rawget(env, "z"))
  end)

  it("may have a hundred upvalues, _ENV not the first", function()
    local _ <close> = with_globals { tm_test_g = 1000 }
    local lines = {}
    for i = 1, 100 do lines[i] = ("local v%d = %d"):format(i, i) end
    lines[101] = "return function() return v1"
    for i = 2, 100 do lines[#lines + 1] = "+ v" .. i end
    lines[#lines + 1] = "+ tm_test_g end"
    assert.equal(6050, pool:apply(chunk(table.concat(lines, " "))()))
  end)
end)

describe("globals that a function names", function()
  it("are captured", function()
    local _ <close> = with_globals { tm_test_a = 1, tm_test_b = { x = 2 } }
    assert.equal(3, pool:apply(chunk "return tm_test_a + tm_test_b.x"))
  end)

  it("are captured from functions inside, and those they carry", function()
    local _ <close> = with_globals {
      tm_test_a = 5, tm_test_f = chunk "return tm_test_a",
      tm_test_g = chunk "return tm_test_f() + 1"
    }
    assert.equal(6, pool:apply(chunk "return tm_test_g()"))
    assert.equal(6, pool:apply(chunk [[
      local function inner() return function() return tm_test_g() end end
      return inner()()]]))
    local carried = { f = chunk "return tm_test_a" }
    assert.equal(5, pool:apply(function() return carried.f() end))
    assert.equal(5, pool:apply(function(t) return t.f() end, { carried }))
    assert.same({ 5, n = 1 }, pool:map(function(t) return t.f() end,
                                       { carried }))
  end)

  it("are captured from the items of streams", function()
    local _ <close> = with_globals { tm_test_a = 1 }
    local items, n = {}, 0
    for i = 1, 20 do items[i] = chunk "return tm_test_a" end
    for _, value in pool:imap(function(f) return f() end, items) do
      assert.equal(1, value)
      n = n + 1
    end
    assert.equal(20, n)
  end)

  it("may be functions that call themselves and each other", function()
    local _ <close> = with_globals {
      tm_test_fact = chunk [[
        local n = ...
        return n == 0 and 1 or n * tm_test_fact(n - 1)]],
      tm_test_even = chunk "local n = ... return n == 0 or tm_test_odd(n - 1)",
      tm_test_odd = chunk "local n = ... return n ~= 0 and tm_test_even(n - 1)"
    }
    assert.equal(120, pool:apply(chunk "return tm_test_fact(...)", { 5 }))
    assert.equal(120, pool:apply(globals.tm_test_fact, { 5 }))
    assert.is_true(pool:apply(chunk "return tm_test_even(10)"))
  end)

  it("are found whatever their name's length and place", function()
    local values, names = {}, {}
    for _, n in ipairs { 1, 39, 40, 41, 42, 200 } do
      local name = "tm_test_" .. ("n"):rep(n)
      values[name], names[#names + 1] = n, name
    end
    local _ <close> = with_globals(values)
    assert.equal(363, pool:apply(chunk("return " ..
                                       table.concat(names, " + "))))
    local many = {}
    for i = 1, 400 do many[i] = ("x = %d.5"):format(i) end
    local body = "local x " .. table.concat(many, " ")
    assert.equal(363, pool:apply(chunk(body .. " return " ..
                                       table.concat(names, " + "))))
    local called = {}
    for i, name in ipairs(names) do
      called[i] = ("(function() return %s end)()"):format(name)
    end
    assert.equal(363, pool:apply(chunk(body .. " return " ..
                                       table.concat(called, " + "))))
  end)

  it("are found after more constants than an instruction holds", function()
    local _ <close> = with_globals { tm_test_late = 7 }
    local many = {}
    for i = 1, 140000 do many[i] = i + 0.5 end
    local body = "local t = {" .. table.concat(many, ",") .. "}"
    assert.equal(7, pool:apply(chunk(body .. " return tm_test_late")))
  end)

  it("are found where they are called, indexed or compared", function()
    local name = "tm_test_" .. ("long"):rep(12)
    local _ <close> = with_globals { [name] = { f = function() return 1 end,
                                                m = { k = 2 } } }
    assert.equal(4, pool:apply(chunk((
      "local s = N.f() + N.m.k if N ~= nil then s = s + N:f() end return s"
    ):gsub("N", name))))
  end)

  it("that changed are set in a running worker", function()
    local f = chunk "return tm_test_v"
    for i = 1, 3 do
      local _ <close> = with_globals { tm_test_v = i }
      assert.equal(i, pool:apply(f))
    end
    local _ <close> = with_globals { tm_test_v = { 1 } }
    assert.same({ 1 }, pool:apply(f))
    globals.tm_test_v[1] = 2
    assert.same({ 2 }, pool:apply(f))
    globals.tm_test_v = nil
    assert.is_nil(pool:apply(f))
    globals.tm_test_v = false
    assert.is_false(pool:apply(f))
  end)

  it("that the script lacks are the worker's own", function()
    local get = chunk "return tm_test_own"
    assert.is_nil(pool:apply(get))
    pool:apply(chunk "tm_test_own = 'mine'")
    assert.equal("mine", pool:apply(get))
    assert.is_nil(globals.tm_test_own)
  end)

  it("are the script's in the script, whatever workers do", function()
    local t = { 1 }
    local _ <close> = with_globals { tm_test_t = t, tm_test_n = 1 }
    pool:apply(chunk "tm_test_t[1], tm_test_n = 2, 2 string.tm_test = 1")
    assert.equal(t, globals.tm_test_t)
    assert.same({ 1 }, t)
    assert.equal(1, globals.tm_test_n)
    assert.is_nil(rawget(string, "tm_test"))
  end)

  it("may shadow standard functions, and stop to", function()
    local f = chunk "return rawlen('four'), utf8.tm_test"
    assert.equal(4, (pool:apply(f)))
    do
      local _ <close> = with_globals {
        rawlen = function() return "mine" end, utf8 = { tm_test = "mine" }
      }
      assert.same({ "mine", "mine" }, { pool:apply(f) })
    end
    assert.same({ 4 }, { pool:apply(f) })
  end)

  it("may be classes, instances, and aliases of exports", function()
    local Point = {}
    Point.__index = Point
    function Point:len() return self.x + self.y end
    local _ <close> = with_globals {
      tm_test_Point = Point, tm_test_p = setmetatable({ x = 1, y = 2 }, Point),
      tm_test_fmt = string.format, tm_test_lib = string, tm_test_out = io.stdout
    }
    assert.equal(3, pool:apply(chunk "return tm_test_p:len()"))
    assert.is_true(pool:apply(chunk [[
      local p = setmetatable({ x = 3, y = 4 }, tm_test_Point)
      return p:len() == 7 and getmetatable(tm_test_p) == tm_test_Point]]))
    assert.equal("007", pool:apply(chunk "return tm_test_fmt('%03d', 7)"))
    assert.is_true(pool:apply(chunk [[
      return tm_test_lib == string and tm_test_out == io.stdout]]))
  end)

  it("share what they share", function()
    local t = {}
    local _ <close> = with_globals { tm_test_a = t, tm_test_b = { t } }
    assert.is_true(pool:apply(chunk "return tm_test_a == tm_test_b[1]"))
    local f = load("local t = ... return function() return t == tm_test_a end",
                   "=c", "t", globals)(t)
    assert.is_true(pool:apply(f))
    assert.is_true(pool:apply(f))
  end)

  it("of interleaved jobs are each job's own", function()
    local f = chunk "local x = ... return tm_test_v[1] * 100 + x"
    local streams = {}
    for i = 1, 2 do
      local _ <close> = with_globals { tm_test_v = { i } }
      local step, _, _, guard = pool:imap(f, tm.range(1, 40))
      streams[i] = { step = step, guard = guard }
    end
    for x = 1, 40 do
      for i, stream in ipairs(streams) do
        local item, value = stream.step()
        assert.equal(x, item)
        assert.equal(100 * i + x, value)
      end
    end
    for _, stream in ipairs(streams) do assert.is_nil(stream.step()) end
  end)

  it("of interleaved jobs may be gone in one", function()
    local get = chunk "return tm_test_v"
    local items = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }
    local with, without
    do
      local _ <close> = with_globals { tm_test_v = "set" }
      with = { pool:imap(get, items) }
    end
    without = { pool:imap(get, items) }
    for _ = 1, #items do
      assert.equal("set", (select(2, with[1]())))
      assert.is_nil((select(2, without[1]())))
    end
  end)

  it("of two pools do not meet", function()
    local other <close> = new_pool()
    local f = chunk "return tm_test_v"
    local _ <close> = with_globals { tm_test_v = 1 }
    assert.equal(1, pool:apply(f))
    globals.tm_test_v = 2
    assert.equal(2, other:apply(f))
    globals.tm_test_v = 1
    assert.equal(1, pool:apply(f))
    assert.equal(1, other:apply(f))
  end)

  it("come with functions that are read from the store", function()
    local _ <close> = with_globals { tm_test_s = 9 }
    local key = tm.glob_store { f = chunk "return tm_test_s" }
    local read = tm.glob_read
    assert.equal(9, pool:apply(function() return read(key).f() end))
    tm.glob_remove(key)
  end)

  it("come with initializers and tasks", function()
    local _ <close> = with_globals { tm_test_i = 4 }
    local own <close> = tm.Pool { kind = "thread", workers = 1,
      initializer = chunk "tm_test_made = tm_test_i + ...", initargs = { 1 } }
    assert.equal(5, own:apply(chunk "return tm_test_made"))
    local task = tm.task("t", chunk "return tm_test_i")
    assert.equal(4, own:apply(task))
    globals.tm_test_i = 6
    assert.equal(6, own:apply(task))
  end)
end)
