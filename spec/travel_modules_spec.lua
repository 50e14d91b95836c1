-- Modules and what they export travel by name.

local core = require "tidemill.core"
local tm = require "tidemill"
local lpeg = require "lpeg"
local own = require "spec.support.travel_module"
local Class = require "pl.class"

local globals, getmetatable = package.loaded._G, getmetatable
local require, rawequal = require, rawequal

local pool

setup(function() pool = tm.Pool { kind = "thread", workers = 1 } end)
teardown(function()
  pool:close()
  pool:join()
end)

local function small(value)
  assert.is_true(#core.pack(value) < 80)
  assert.equal(value, core.unpack(core.pack(value)))
end

describe("what a module exports", function()
  it("is a name in messages", function()
    for _, value in ipairs {
      string, string.format, math.sin, io.stdout, os, coroutine.wrap, print,
      tm, tm.glob_read, lpeg, lpeg.P, own, own.count, own.Point, own.none,
    } do small(value) end
  end)

  it("is the worker's own there, and ours back here", function()
    local format, P, list = string.format, lpeg.P, { string.rep, math }
    assert.equal("007", pool:apply(function() return format("%03d", 7) end))
    assert.equal(3, pool:apply(function() return P("ab"):match("abab") end))
    assert.equal("xx", pool:apply(function() return list[1]("x", 2) end))
    local back = { pool:apply(function(f) return f, list, format end, { P }) }
    assert.equal(P, back[1])
    assert.equal(math, back[2][2])
    assert.equal(format, back[3])
  end)

  it("may be the task itself", function()
    assert.equal(3.0, pool:apply(math.sqrt, { 9 }))
    assert.same({ "1", "2", n = 2 }, pool:map(tostring, { 1, 2 }))
  end)

  it("keeps the state of a Lua module, which a worker loads once", function()
    own.count()
    assert.equal(1, pool:apply(own.count))
    assert.equal(2, pool:apply(function() return own.count() end))
    assert.equal(2, own.count())
  end)

  it("may be a class, whose objects are of that class on both sides",
     function()
    local p = own.Point.new(1, 2)
    local same, sum, q = pool:apply(function(x)
      local M = require "spec.support.travel_module"
      return rawequal(getmetatable(x), M.Point), x:sum(), M.Point.new(3, 4)
    end, { p })
    assert.is_true(same)
    assert.equal(3, sum)
    assert.equal(own.Point, getmetatable(q))
    assert.equal(7, q:sum())
  end)

  it("may be an object known by what it is", function()
    assert.is_true(pool:apply(function(x)
      return rawequal(x, require "spec.support.travel_module".none)
    end, { own.none }))
  end)

  it("that is plain data is copied", function()
    local data = own.data
    data[3] = 3
    assert.equal(3, pool:apply(function() return data[3] end))
    data[3] = nil
  end)

  it("may be known under another name of the script's", function()
    globals.tm_test_P = lpeg.P
    local f = load("return tm_test_P('a'):match('aa')", "=c", "t", globals)
    assert.equal(2, pool:apply(f))
    globals.tm_test_P = nil
  end)
end)

describe("what a script adds", function()
  it("to a module travels by value", function()
    local n = 41
    function own.added() n = n + 1 return n end
    rawset(string, "tm_test_added", own.added)
    rawset(math, "tm_test_Class", { __index = { x = 5 } })
    own.Added = { __index = own.added, of = "the script" }
    package.loaded["tm.test.nothing"] = true -- names are read anew
    local added = own.added
    local of = { rawget(math, "tm_test_Class"), own.Added }
    assert.equal(42, pool:apply(added))
    assert.equal(42, pool:apply(function() return added() end))
    local x, text, same = pool:apply(function()
      return of[1].__index.x, of[2].of, of[2].__index == added
    end)
    assert.same({ 5, "the script", true }, { x, text, same })
    own.added, own.Added, package.loaded["tm.test.nothing"] = nil, nil, nil
    rawset(string, "tm_test_added", nil)
    rawset(math, "tm_test_Class", nil)
  end)

  it("as a class of a class library to a module does too", function()
    own.Made = Class()
    function own.Made:_init(x) self.x = x end
    function own.Made:double() return 2 * self.x end
    package.loaded["tm.test.nothing"] = true
    local Made = own.Made
    assert.equal(6, pool:apply(function(o) return o:double() end,
                               { Made(3) }))
    own.Made, package.loaded["tm.test.nothing"] = nil, nil
  end)

  it("to the globals is the script's, also from a module's file", function()
    local f = load("return tm_test_helper(...)", "=c", "t", globals)
    local fresh <close> = tm.Pool { kind = "thread", workers = 1 }
    assert.equal(8, fresh:apply(f, { 7 }))
  end)

  it("around a standard function may still use it", function()
    local plain = globals.tostring
    globals.tostring = load([[local plain = ...
      return function(x) return "<" .. plain(x) .. ">" end]], "=c", "t",
      globals)(plain)
    local f = load("return tostring(7)", "=c", "t", globals)
    local ok, text = pcall(pool.apply, pool, f)
    globals.tostring = plain
    assert.is_true(ok, text)
    assert.equal("<7>", text)
    assert.equal("7", pool:apply(f))
  end)
end)

describe("modules", function()
  local directory

  setup(function()
    directory = os.tmpname()
    os.remove(directory)
    assert(os.execute("mkdir " .. directory))
  end)
  teardown(function() os.execute("rm -r " .. directory) end)

  local function write(name, text)
    local file = assert(io.open(directory .. "/" .. name .. ".lua", "w"))
    file:write(text)
    file:close()
  end

  it("are found where package.path leads since the pool was made", function()
    write("tm_test_found", "return { f = function() return 'found' end }")
    local path = package.path
    package.path = directory .. "/?.lua;" .. path
    local f = require "tm_test_found".f
    local text = pool:apply(f)
    local inside = pool:apply(function()
      return require "tm_test_found".f()
    end)
    package.path, package.loaded.tm_test_found = path, nil
    assert.equal("found", text)
    assert.equal("found", inside)
    local library = package
    assert.equal(path, pool:apply(function() return library.path end))
  end)

  it("that were loaded again are known again", function()
    write("tm_test_again", "return { new = function() return {} end }")
    local path = package.path
    package.path = directory .. "/?.lua;" .. path
    local first = require "tm_test_again"
    small(first.new)
    package.loaded.tm_test_again = nil
    local second = require "tm_test_again"
    assert.are_not.equal(first.new, second.new)
    small(second.new)
    assert.is_true(#core.pack(first.new) > 80)
    package.path, package.loaded.tm_test_again = path, nil
  end)

  it("that no file provides travel by value", function()
    package.loaded["tm.test.virtual"] = {
      f = function(x) return x * 2 end, k = { 21 }
    }
    local M = require "tm.test.virtual"
    assert.equal(42, pool:apply(function() return M.f(M.k[1]) end))
    assert.equal(42, pool:apply(M.f, { 21 }))
    package.loaded["tm.test.virtual"] = nil
  end)

  it("that a worker cannot load say so, and the pool goes on", function()
    write("tm_test_gone", "return { f = function() end }")
    local path = package.path
    package.path = directory .. "/?.lua;" .. path
    local f = require "tm_test_gone".f
    small(f)
    os.remove(directory .. "/tm_test_gone.lua")
    local ok, e = pcall(pool.apply, pool, f)
    package.path, package.loaded.tm_test_gone = path, nil
    assert.is_false(ok)
    assert.match("tm_test_gone", e.message)
    assert.equal(1, pool:apply(function() return 1 end))
  end)
end)
