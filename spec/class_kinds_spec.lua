-- Stored attributes in every kind of class, in one state.

local fake = require "spec.support.fake_store"
local has_middleclass, middleclass = pcall(require, "middleclass")
if not has_middleclass then
  middleclass = require "spec.support.instance_dict"
end
local pl_class = require "pl.class"

local collect, holds, send = fake.collect, fake.holds, fake.send

-- Each answers a class Dad with stored "a" and "b", whose constructor sets
-- both, and two sons with a stored "c". The careful one's finaliser calls
-- Dad's, the negligent one's does not. `log` collects what finalisers read.

local kinds = {}

local function plain_family(decorate, log, define)
  local Dad = define(decorate("a", "b"))
  function Dad.new(b, class)
    local self = setmetatable({}, class or Dad)
    self.a, self.b, self.plain = "a", b, 1
    return self
  end
  function Dad:get_b() return self.b end
  function Dad:set_b(b) self.b = b end
  Dad.__gc = function(self) log[#log + 1] = self.a end
  local function son(gc)
    local Son = setmetatable({ __gc = gc }, { __index = Dad })
    Son.__index = Son
    function Son.new(c)
      local self = Dad.new("b", Son)
      self.c = c
      return self
    end
    return decorate("c")(Son)
  end
  return Dad, son(), son(function(self)
    log[#log + 1] = self.c
    Dad.__gc(self)
  end)
end

kinds["a plain class"] = function(decorate, log)
  return plain_family(decorate, log, function(decorator)
    local Dad = {}
    Dad.__index = Dad
    return decorator(Dad)
  end)
end

kinds["a plain class, __index set after decorating"] = function(decorate, log)
  return plain_family(decorate, log, function(decorator)
    local Dad = decorator({})
    Dad.__index = Dad
    return Dad
  end)
end

kinds["a class with __index and __newindex functions"] =
  function(decorate, log)
    return plain_family(decorate, log, function(decorator)
      local Dad = {}
      Dad.__index = function(_, k) return Dad[k] end
      Dad.__newindex = function(self, k, v) rawset(self, k, v) end
      return decorator(Dad)
    end)
  end

kinds["a class whose sons have it as metatable"] = function(decorate, log)
  local Dad, _, CarefulSon = kinds["a plain class"](decorate, log)
  local NegligentSon = setmetatable({}, Dad)
  NegligentSon.__index = NegligentSon
  function NegligentSon.new(c)
    local self = setmetatable(Dad.new("b"), NegligentSon)
    self.c = c
    return self
  end
  return Dad, decorate("c")(NegligentSon), CarefulSon
end

kinds[has_middleclass and "middleclass" or "a middleclass-like class"] =
  function(decorate, log)
    local Dad = decorate("a", "b")(middleclass("Dad"))
    function Dad:initialize(b) self.a, self.b, self.plain = "a", b, 1 end
    function Dad:get_b() return self.b end
    function Dad:set_b(b) self.b = b end
    Dad.__gc = function(self) log[#log + 1] = self.a end
    local function son(name)
      local Son = decorate("c")(middleclass(name, Dad))
      function Son:initialize(c)
        Dad.initialize(self, "b")
        self.c = c
      end
      return Son
    end
    local NegligentSon, CarefulSon = son("NegligentSon"), son("CarefulSon")
    NegligentSon.__gc = function() end
    CarefulSon.__gc = function(self)
      log[#log + 1] = self.c
      Dad.__gc(self)
    end
    return Dad, NegligentSon, CarefulSon
  end

kinds["a Penlight class"] = function(decorate, log)
  local Dad = decorate("a", "b")(pl_class())
  function Dad:_init(b) self.a, self.b, self.plain = "a", b, 1 end
  function Dad:get_b() return self.b end
  function Dad:set_b(b) self.b = b end
  Dad.__gc = function(self) log[#log + 1] = self.a end
  local function son()
    local Son = decorate("c")(pl_class(Dad))
    function Son:_init(c)
      self:super("b")
      self.c = c
    end
    return Son
  end
  local NegligentSon, CarefulSon = son(), son()
  NegligentSon.__gc = function() end
  CarefulSon.__gc = function(self)
    log[#log + 1] = self.c
    Dad.__gc(self)
  end
  return Dad, NegligentSon, CarefulSon
end

local function make(class, ...)
  return (rawget(class, "new") or class)(...)
end

local names = {}
for kind in pairs(kinds) do names[#names + 1] = kind end
table.sort(names)

for _, kind in ipairs(names) do
  local family = kinds[kind]
  describe("stored attributes of " .. kind, function()
    local store, log, Dad, NegligentSon, CarefulSon

    before_each(function()
      store, log = fake.new_store(), {}
      local decorate = fake.new_state(store)
      Dad, NegligentSon, CarefulSon = family(decorate, log)
    end)

    it("are read and written as fields, and are none", function()
      local big = {}
      local d = make(Dad, big)
      assert.equal("a", d.a)
      assert.equal(big, d.b)
      assert.equal(big, d:get_b())
      assert.is_nil(rawget(d, "a"))
      assert.is_nil(rawget(d, "b"))
      assert.equal(1, rawget(d, "plain"))
      assert.is_nil(d.missing)
      assert.is_false(holds(d, big))
      assert.equal(2, store.count())
    end)

    it("keep their key when assigned again", function()
      local d = make(Dad, {})
      local other = {}
      d:set_b(other)
      d.b = d.b
      assert.equal(other, d.b)
      assert.equal(2, store.updates)
      assert.equal(2, store.count())
    end)

    it("hold false, and drop their key for nil", function()
      local d = make(Dad, false)
      assert.is_false(d.b)
      d.b = nil
      collect()
      assert.is_nil(d.b)
      assert.equal(1, store.count())
      d.b = 5
      assert.equal(5, d.b)
    end)

    it("belong to each instance", function()
      local d, e = make(Dad, 1), make(Dad, 2)
      d.b = 3
      assert.same({ 3, 2 }, { d.b, e.b })
    end)

    it("are known to sons", function()
      for _, Son in ipairs { NegligentSon, CarefulSon } do
        local s = make(Son, "c")
        assert.same({ "a", "b", "c" }, { s.a, s:get_b(), s.c })
        s:set_b("new")
        assert.equal("new", s.b)
        for _, name in ipairs { "a", "b", "c" } do
          assert.is_nil(rawget(s, name))
        end
      end
    end)

    it("do not leave the son's own names to Dad", function()
      make(NegligentSon, "c")
      local d = make(Dad, "b")
      d.c = "plain"
      assert.equal("plain", rawget(d, "c"))
    end)

    it("go with the instance, which can read them to the last", function()
      local held = { make(CarefulSon, "c"), make(NegligentSon, "n") }
      assert.equal(6, store.count())
      held[2] = nil
      collect()
      assert.equal(3, store.count())
      assert.same({}, log)
      held[1] = nil
      collect()
      assert.equal(0, store.count())
      assert.same({ "c", "a" }, log)
      held[1] = make(Dad, "b")
      assert.equal("b", held[1].b)
      held[1] = nil
      collect()
      assert.equal(0, store.count())
      assert.same({ "c", "a", "a" }, log)
    end)

    it("are sent as keys; the copy's assignments are its own", function()
      local big = {}
      local held = { make(CarefulSon, big) }
      local copy = send(held[1])
      assert.is_false(holds(copy, big))
      assert.same({ "a", "b" }, { copy.a, copy:get_b() })
      assert.equal(big, copy.c)
      held[1].c = "published"
      assert.equal("published", copy.c)
      copy.c = "mine"
      copy.c = "still mine"
      assert.equal("published", held[1].c)
      assert.equal("still mine", copy.c)
      assert.equal(2, store.updates)
      held[1].b = "published too"
      assert.equal("published too", copy.b)
      held[1] = nil
      collect()
      assert.same({ "a", "published too", "still mine" },
                  { copy.a, copy.b, copy.c })
      assert.equal(3, store.count())
    end)

    it("arrive in a state where the class was not yet used", function()
      local s = make(NegligentSon, "c")
      local decorate, module = fake.new_state(store)
      local There, SonThere = family(decorate, {})
      local copy = send(s, SonThere, module)
      assert.same({ "a", "b", "c" }, { copy.a, copy:get_b(), copy.c })
      copy = send(make(Dad, "b"), There, module)
      assert.same({ "a", "b" }, { copy.a, copy:get_b() })
    end)

    it("are among the pairs", function()
      local d = make(Dad, "b")
      local seen = {}
      for k, v in pairs(d) do seen[k] = v end
      seen.class = nil
      assert.same({ a = "a", b = "b", plain = 1 }, seen)
      for k in pairs(d) do d[k] = nil end
      assert.is_nil(d.plain)
      assert.is_nil(d.b)
    end)
  end)
end
