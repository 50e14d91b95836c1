-- What cannot travel: an error before anything runs, that names the path.

local core = require "tidemill.core"
local tm = require "tidemill"

local globals = package.loaded._G
local setmetatable, getmetatable = setmetatable, getmetatable
local coroutine, error, io, string = coroutine, error, io, string

local pool, file

setup(function()
  pool = tm.Pool { kind = "thread", workers = 1 }
  file = assert(io.tmpfile())
end)
teardown(function()
  pool:close()
  pool:join()
  file:close()
end)

--- Calls f, which must fail to send; returns the message. The pool must be
--- usable afterwards, and nothing may have run.
local function refused(f, ...)
  local ok, e = pcall(f, ...)
  assert.is_false(ok)
  assert.equal("send", e.kind)
  assert.equal(1, pool:apply(function() return 1 end))
  return e.message
end

local function sent(value)
  return refused(function() return pool:apply(function() end, { value }) end)
end

local function gmatch() return (string.gmatch("a", ".")) end

describe("a value that cannot travel", function()
  it("is named by its kind", function()
    for what, value in pairs {
      ["a FILE* userdata"] = file,
      ["a coroutine"] = coroutine.create(function() end),
      ["a C function that no module exports"] = gmatch(),
      ["a light userdata"] = core.id(core.submit(pool, function() end, { 1 },
                                                 1, {})),
    } do
      assert.equal("args[1] is " .. what, sent(value))
    end
  end)

  it("is named by its path in arguments and items", function()
    assert.equal("args[1].a.b[3] is a FILE* userdata",
                 sent { a = { b = { 1, 2, file } } })
    assert.equal('args[1]["not a name"][1.5] is a FILE* userdata',
                 sent { ["not a name"] = { [1.5] = file } })
    assert.match("^args%[1%]%[a table%] is a FILE", sent { [{}] = file })
    assert.match("is a FILE%* userdata$", sent { [file] = 1 })
    assert.equal("item 2.x is a FILE* userdata", refused(function()
      return pool:map(function() end, { {}, { x = file }, {} })
    end))
    assert.equal("item 2[1] is a FILE* userdata", refused(function()
      return pool:starmap(function() end, { {}, { file }, {} })
    end))
  end)

  it("is named by its path in upvalues", function()
    local mesh = { log = { file = file } }
    local function solve() return mesh end
    assert.equal("upvalue 'mesh' of 'solve': .log.file is a FILE* userdata",
                 refused(pool.map, pool, solve, { 1 }))
    assert.equal("upvalue 'mesh' of 'solve': .log.file is a FILE* userdata",
                 refused(pool.apply, pool, solve))
    local function outer() return solve() end
    assert.match("upvalue 'mesh' of 'solve': .log.file is a FILE",
                 refused(pool.apply, pool, outer))
    assert.match("upvalue 'mesh' of '.+': .log.file is a FILE",
                 sent { { solve } })
  end)

  it("is named by the global that leads to it", function()
    globals.tm_test_bad = { deep = { file } }
    local f = load("return tm_test_bad", "=c", "t", globals)
    local message = refused(pool.apply, pool, f)
    globals.tm_test_bad = nil
    assert.equal("global 'tm_test_bad'.deep[1] is a FILE* userdata", message)
  end)

  it("is found in metatables, classes and kwds", function()
    assert.match("args%[1%].*%.__index%.f is a FILE%* userdata", sent(
      setmetatable({}, { __index = { f = file } })):gsub("class",
                                                         "args[1]", 1))
    local C = { log = file }
    C.__index = C
    assert.match("%.log is a FILE%* userdata$", sent(setmetatable({}, C)))
    assert.match("%.f is a FILE%* userdata$", refused(function()
      pool:map(function() end, { 1 }, { kwds = { f = file } })
    end))
  end)

  it("is found however deep it is, the path shortened", function()
    local deep = file
    for _ = 1, 1000 do deep = { deep } end
    local message = sent(deep)
    assert.match("is a FILE%* userdata$", message)
    assert.is_true(#message < 300)
  end)

  it("stops everything before it begins", function()
    local key = tm.glob_store(0)
    local write = tm.glob_update
    refused(function()
      pool:map(function() write(key, 1) end, { 1, 2, file })
    end)
    assert.equal(0, tm.glob_read(key))
    tm.glob_remove(key)
  end)

  it("leaves no keys held", function()
    collectgarbage()
    collectgarbage()
    local before = core.store_count()
    local key = tm.glob_store {}
    for _ = 1, 20 do sent { key, file } end
    tm.glob_remove(key)
    key = core.store_counted {}
    for _ = 1, 20 do sent { key, file } end
    key = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.equal(before, core.store_count())
  end)

  it("ends a stream after the results before it", function()
    local seen = {}
    local ok, e = pcall(function()
      for i in pool:imap(function(x) return x end, { 1, 2, file, 4 }) do
        seen[#seen + 1] = i
      end
    end)
    assert.is_false(ok)
    assert.same({ 1, 2 }, seen)
    assert.equal("send", e.kind)
    assert.equal("item 3 is a FILE* userdata", e.message)
    assert.match("upvalue 'file'", refused(pool.imap, pool,
                                           function() return file end, { 1 }))
  end)
end)

describe("a result that cannot travel", function()
  it("fails its item alone", function()
    local create = coroutine.create
    local results = pool:map(function(i)
      if i == 2 then return { x = create(function() end) } end
      return i
    end, { 1, 2, 3 }, { errors = "collect" })
    assert.same({ 1, 3 }, { results[1], results[3] })
    assert.equal("send", results[2].kind)
    assert.equal(2, results[2].item)
    assert.equal("the result of item 2.x is a coroutine", results[2].message)
  end)

  it("is told by its path", function()
    local tmpfile = io.tmpfile
    local ok, e = pcall(pool.apply, pool, function()
      return 1, { log = tmpfile() }
    end)
    assert.is_false(ok)
    assert.equal("send", e.kind)
    assert.match("%.log is a FILE%* userdata$", e.message)
  end)

  it("may be what was raised: then its text stands for it", function()
    local ok, e = pcall(pool.apply, pool, function()
      error(setmetatable({ co = coroutine.create(function() end) },
                         { __tostring = function() return "as text" end }))
    end)
    assert.is_false(ok)
    assert.equal("task", e.kind)
    assert.match("as text", e.message)
  end)

  it("may be raised when it can travel, unchanged", function()
    local E = {}
    E.__index = E
    local ok, e = pcall(pool.apply, pool, function()
      error(setmetatable({ code = 7 }, E))
    end)
    assert.is_false(ok)
    assert.equal(E, getmetatable(e.value))
    assert.equal(7, e.value.code)
  end)
end)

describe("__tidemill_send", function()
  local function box(value)
    local mt = { __tidemill_send = function(self)
      return function(x, y) return { made = x, second = y } end, self.v, nil
    end }
    return setmetatable({ v = value, co = coroutine.create(function() end) },
                        mt)
  end

  it("says how an object travels", function()
    local t = pool:apply(function(o) return o end, { box(5) })
    assert.same({ made = 5 }, t)
    local same = pool:apply(function(a, b) return a == b end,
                            (function(o) return { o, o } end)(box {}))
    assert.is_true(same)
  end)

  it("gets what it is made from whole, however deep", function()
    local function unnest(t)
      while t[1] do t = t[1] end
      return t
    end
    for _, n in ipairs { 0, 150, 155, 156, 157, 158, 159, 160, 161, 400 } do
      local b = setmetatable({}, {
        __tidemill_send = function()
          return function(x) return { got = x.a.b.c } end,
            { a = { b = { c = "whole" } } }
        end
      })
      for _ = 1, n do b = { b } end
      assert.same({ got = "whole" }, unnest(core.unpack(core.pack(b))))
    end
  end)

  it("may nest, to a depth, and then says so", function()
    local function nest(n)
      local b = box("core")
      for _ = 1, n do b = box(b) end
      return b
    end
    local t, n = core.unpack(core.pack(nest(100))), 0
    while t.made ~= "core" do t, n = t.made, n + 1 end
    assert.equal(100, n)
    local ok, e = pcall(core.pack, nest(100000))
    assert.is_false(ok)
    assert.match("nested too deeply", e.message)
  end)

  it("must return a function", function()
    for _, f in ipairs { function() end, function() return 1 end,
                         function(self) return self end } do
      assert.match("__tidemill_send does not return a function",
                   sent(setmetatable({}, { __tidemill_send = f })))
    end
  end)

  it("may raise, and its error comes out", function()
    local ok, e = pcall(pool.apply, pool, function() end, {
      setmetatable({}, { __tidemill_send = function() error("mine", 0) end })
    })
    assert.is_false(ok)
    assert.match("mine", tostring(e))
    assert.equal(1, pool:apply(function() return 1 end))
  end)

  it("is named in the path to what cannot travel", function()
    assert.match("what its __tidemill_send returned.* is a FILE",
                 sent(setmetatable({}, { __tidemill_send = function()
                   return function() end, file
                 end })))
  end)

  it("works for userdata", function()
    local mt = debug.getmetatable(file)
    mt.__tidemill_send = function(f)
      return function(x) return { rebuilt = x } end, io.type(f)
    end
    local ok, back = pcall(pool.apply, pool, function(o) return o end,
                           { file })
    mt.__tidemill_send = nil
    assert.is_true(ok, back)
    assert.same({ rebuilt = "file" }, back)
  end)
end)
