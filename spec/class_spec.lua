-- The decorator, in one state: what only some classes do.

local fake = require "spec.support.fake_store"
local found, middleclass = pcall(require, "middleclass")
if not found then
  middleclass = require "spec.support.instance_dict"
end
local pl_class = require "pl.class"

local holds, send = fake.holds, fake.send

describe("glob_store_attributes", function()
  local store, decorate

  before_each(function()
    store = fake.new_store()
    decorate = fake.new_state(store)
  end)

  local function plain(parent)
    local C = setmetatable({}, parent and { __index = parent })
    C.__index = C
    return C
  end

  it("answers the class and leaves its metatable alone", function()
    local C, meta = plain(), {}
    setmetatable(C, meta)
    assert.equal(C, decorate("a")(C))
    assert.equal(meta, getmetatable(C))
    assert.same({}, meta)
  end)

  it("adds names when a class is decorated twice", function()
    local C = decorate("b")(decorate("a")(plain()))
    local c = setmetatable({}, C)
    c.a, c.b = 1, 2
    assert.same({ 1, 2, 2 }, { c.a, c.b, store.count() })
    assert.is_nil(rawget(c, "a"))
  end)

  it("without names gives a subclass its parents' attributes", function()
    local Dad = decorate("a")(plain())
    local Middle = plain(Dad)
    local Son = decorate()(plain(Middle))
    local s = setmetatable({}, Son)
    s.a = 1
    assert.is_nil(rawget(s, "a"))
    assert.equal(1, s.a)
  end)

  it("learns of a parent that is set after decorating", function()
    local Dad = decorate("a")(plain())
    function Dad.greet() return "hello" end
    local Son = decorate("c")({})
    setmetatable(Son, { __index = Dad })
    Son.__index = Son
    local s = setmetatable({}, Son)
    s.a, s.c = 1, 2
    assert.same({ 1, 2, 2 }, { s.a, s.c, store.count() })
    assert.equal("hello", s.greet())
    local Daughter = decorate("c")(plain())
    setmetatable(Daughter, { __index = Dad })
    local d = setmetatable({}, Daughter)
    d.a = 1
    assert.is_nil(rawget(d, "a"))
  end)

  it("finds parents behind an __index function", function()
    local Dad, Mum = decorate("a")(plain()), plain()
    function Mum.greet() return "hello" end
    local Son = setmetatable({}, { __index = function(_, k)
      local v = Dad[k]
      if v == nil then v = Mum[k] end
      return v
    end })
    Son.__index = Son
    decorate("c")(Son)
    local s = setmetatable({}, Son)
    s.a = 1
    assert.is_nil(rawget(s, "a"))
    assert.same({ 1, "hello" }, { s.a, s.greet() })
  end)

  it("serves a son that was made one after Dad's constructor", function()
    local Dad = decorate("a")(plain())
    local Son = decorate()(plain(Dad))
    local s = setmetatable({}, Dad)
    s.a = 1
    setmetatable(s, Son)
    assert.equal(1, s.a)
    s.a = 2
    assert.equal(2, s.a)
  end)

  it("serves a son that takes Dad's metamethods by hand", function()
    local Dad = decorate("a")(plain())
    local Son = plain(Dad)
    Son.__newindex = Dad.__newindex
    local s = setmetatable({}, Son)
    s.a = 1
    assert.is_nil(rawget(s, "a"))
    assert.equal(1, s.a)
  end)

  it("keeps working when __index is set anew, chained or not", function()
    local C = decorate("a")(plain())
    local first = setmetatable({}, C)
    first.a = 1
    local old, asked = C.__index, {}
    C.__index = function(self, k)
      asked[#asked + 1] = k
      return old(self, k)
    end
    C.word = "hello"
    local second = setmetatable({}, C)
    second.a = 2
    assert.same({ 1, 2 }, { first.a, second.a })
    assert.same({}, asked)
    assert.equal("hello", second.word)
    assert.is_nil(second.missing)
    assert.same({ "word", "missing" }, asked)
    C.__index = C
    local third = setmetatable({}, C)
    third.a = 3
    assert.same({ 1, 2, 3 }, { first.a, second.a, third.a })
    assert.equal("hello", first.word)
  end)

  it("chains to __newindex, and asks it for other fields only", function()
    local C, written = plain(), {}
    C.__newindex = function(self, k, v)
      written[#written + 1] = k
      rawset(self, k, v)
    end
    decorate("a")(C)
    local c = setmetatable({}, C)
    c.a, c.b = 1, 2
    assert.same({ "b" }, written)
    assert.same({ 1, 2 }, { c.a, c.b })
    local T, elsewhere = plain(), {}
    T.__newindex = elsewhere
    local t = setmetatable({}, decorate("a")(T))
    t.a, t.b = 1, 2
    assert.same({ b = 2 }, elsewhere)
    assert.equal(1, t.a)
  end)

  it("takes fields that were there before, and past us, when sent", function()
    local C = decorate("a", "b")(plain())
    local big, other = {}, {}
    local c = setmetatable({ a = big, n = 1 }, C)
    assert.equal(big, c.a)
    local copy = send(c)
    assert.is_nil(rawget(c, "a"))
    assert.is_false(holds(copy, big))
    assert.equal(big, c.a)
    assert.equal(big, copy.a)
    rawset(c, "a", other)
    assert.equal(other, send(c).a)
    assert.equal(1, store.updates)
    assert.equal(1, store.count())
  end)

  it("lets a class have defaults", function()
    local C = decorate("a")(plain())
    C.a = "default"
    local c = setmetatable({}, C)
    assert.equal("default", c.a)
    c.a = 1
    assert.equal(1, c.a)
    c.a = nil
    assert.equal("default", c.a)
    local Son = setmetatable({ a = "son's" }, C)
    Son.__index = Son
    C.__tidemill_stow(Son)
    assert.equal("son's", rawget(Son, "a"))
    local D = decorate("a")(middleclass("D"))
    D.a = "default"
    local d = D:subclass("E"):new()
    assert.equal("default", d.a)
    d.a = 1
    assert.equal(1, d.a)
  end)

  it("lets the two halves of a raw copy part", function()
    local C = decorate("a", "b")(plain())
    local c, copy = setmetatable({}, C), {}
    c.a, c.b = 1, 2
    for k, v in next, c do copy[k] = v end
    setmetatable(copy, C)
    copy.a = 3
    assert.same({ 1, 2, 3, 2 }, { c.a, c.b, copy.a, copy.b })
  end)

  it("serves a son with a finaliser, made by a Dad without", function()
    local Dad, read = decorate("a", "b")(plain()), {}
    local Son = decorate()(plain(Dad))
    Son.__gc = function(self) read[#read + 1] = self.a + self.b end
    for _ = 1, 2 do
      local s = setmetatable({}, Dad)
      s.a = 1
      setmetatable(s, Son).b = 2
      s.a = 3
    end
    assert.equal(2, store.updates)
    fake.collect()
    assert.same({ 5, 5 }, read)
    assert.equal(0, store.count())
    local s = setmetatable({}, Dad)
    s.a, s.b = 1, 2
    local copy = send(s)
    copy.a = 3
    setmetatable(copy, Son).a = 4
    copy.b = 5
    assert.equal(3, store.updates)
    assert.same({ 1, 2, 4, 5 }, { s.a, s.b, copy.a, copy.b })
    copy, s = nil, nil
    fake.collect()
    assert.is_nil(copy or s)
    assert.equal(0, store.count())
  end)

  it("lets finalisers of sent and of raw copies read", function()
    local C, read = decorate("a", "b")(plain()), {}
    C.__gc = function(self) read[#read + 1] = self.a .. self.b end
    local held = { setmetatable({}, C), setmetatable({}, C) }
    held[1].a, held[1].b = "a", "b"
    held[3] = send(held[1])
    held[3].b = "sent"
    for k, v in next, held[1] do held[2][k] = v end
    held[2].b = "raw"
    fake.collect()
    for _, word in ipairs { "ab", "araw", "asent" } do
      table.remove(held, 1)
      fake.collect()
      assert.equal(word, table.remove(read))
    end
    assert.equal(0, store.count())
    held = { setmetatable({}, C), setmetatable({}, C) }
    held[1].a, held[2].a = 1, 2
    for k, v in next, held[1] do held[2][k] = v end
    fake.collect()
    assert.equal(1, held[2].a)
  end)

  it("lets finalisers read when the state closes", function()
    local first = 0
    while arg[first - 1] do first = first - 1 end
    local out = assert(io.popen(arg[first] .. [[ -e '
      local fake = require "spec.support.fake_store"
      local decorate = fake.new_state(fake.new_store())
      local Dad = decorate("a", "b")({})
      local Son = decorate()(setmetatable({}, { __index = Dad }))
      Son.__gc = function(self) print(self.a[1], self.b) end
      local s = setmetatable({}, Dad)
      s.a = { 1 }
      setmetatable(s, Son).b = 2
      s.b = 3']]))
    assert.equal("1\t3\n", out:read("a"))
    out:close()
  end)

  it("leaves a class's own metamethods alone", function()
    local C, closed = plain(), nil
    C.__close = function(self) closed = self.a end
    C.__pairs = function() return next, { mine = true }, nil end
    C.__len = function(self) return #self.a end
    C.__metatable = "locked"
    decorate("a")(C)
    do
      local c <close> = setmetatable({}, C)
      c.a = { 1, 2 }
      assert.equal(2, #c)
      for k in pairs(c) do assert.equal("mine", k) end
    end
    assert.same({ 1, 2 }, closed)
  end)

  it("serves sons in class libraries, undecorated or made before", function()
    local D = decorate("a")(middleclass("D"))
    local d = middleclass("E", middleclass("F", D)):new()
    d.a = 1
    assert.is_nil(rawget(d, "a"))
    assert.equal(1, d.a)
    assert.is_true(d:isInstanceOf(D))
    local G = middleclass("G")
    local H = middleclass("H", G)
    decorate("a")(G)
    local h = decorate()(H):new()
    h.a = 1
    assert.is_nil(rawget(h, "a"))
    local P = decorate("a")(pl_class())
    function P.greet() return "hello" end
    local Q = pl_class(pl_class(P))
    local q = Q()
    q.a = 1
    assert.is_nil(rawget(q, "a"))
    assert.same({ 1, "hello" }, { q.a, q.greet() })
    assert.is_true(q:is_a(P))
  end)

  it("serves middleclass classes with __index, before or after", function()
    local D = middleclass("D")
    D.__index = function(_, k) return "D." .. tostring(k) end
    decorate("a")(D)
    local E = middleclass("E", D)
    E.greet = function() return "hello" end
    local d, e = D:new(), E:new()
    d.a, e.a = 1, 2
    assert.same({ 1, 2, "D.x", "D.x", "hello" },
                { d.a, e.a, d.x, e.x, e.greet() })
    E.__index = function(_, k) return "E." .. tostring(k) end
    local f = E:new()
    f.a = 3
    assert.same({ 3, 2, "E.x", "hello" }, { f.a, e.a, f.x, f.greet() })
  end)

  it("keeps Penlight's handlers and properties", function()
    local P = pl_class(pl_class.properties)
    function P.get_word() return "hello" end
    function P:set_size(n) rawset(self, "_size", n) end
    decorate("a")(P)
    local p = P()
    p.a, p.size = 1, 2
    assert.same({ 1, 2, "hello" }, { p.a, p.size, p.word })
    local Q = decorate("a")(pl_class())
    Q:catch(function(_, k) return "caught " .. k end)
    local q = Q()
    q.a = 1
    assert.same({ 1, "caught x" }, { q.a, q.x })
  end)

  it("raises what Lua raises for bad keys, at the caller", function()
    local C = decorate("a")(plain())
    local ok, message = pcall(function() setmetatable({}, C)[nil] = 1 end)
    assert.is_false(ok)
    assert.match("^spec/class_spec.lua:%d+: index is nil$", message)
    assert.has_error(function() setmetatable({}, C)[0 / 0] = 1 end)
  end)

  local function message_of(f)
    local ok, message = pcall(f)
    assert.is_false(ok)
    assert.match("^spec/class_spec.lua:%d+: ", message)
    return message:gsub("^.-: ", "", 1)
  end

  it("says what is wrong with a name", function()
    assert.equal("bad argument #2 to 'glob_store_attributes' "
      .. "(attribute name expected, got number)",
      message_of(function() decorate("a", 2) end))
    assert.equal("bad argument #1 to 'glob_store_attributes' "
      .. "(attribute name expected, got nil)",
      message_of(function() decorate(nil, "a") end))
    assert.match("the class comes after the names",
      message_of(function() decorate({}, "a") end))
    assert.match("is reserved",
      message_of(function() decorate("__tm_keys") end))
  end)

  it("says what is wrong with a class", function()
    assert.equal("glob_store_attributes: class expected, got nil",
      message_of(function() decorate("a")() end))
    assert.equal("glob_store_attributes: class expected, got function",
      message_of(function() decorate("a")(print) end))
    assert.match("unknown kind of class",
      message_of(function() decorate("a") { __instanceDict = 1 } end))
    assert.match("no attribute named, and no parent class has any",
      message_of(function() decorate()(plain()) end))
    local c = setmetatable({}, decorate("a")(plain()))
    c.a = 1
    assert.match("class expected, got an instance",
      message_of(function() decorate("a")(c) end))
  end)
end)
