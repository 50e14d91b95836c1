--- fake_store.lua: a global store in one state, and how to send to another
---
--- What a key is to the core, a table with a finaliser is to this one.

local fake = {}

local Key = {}

function Key.__gc(key)
  key.store.objects[key], key.store.alive[key] = nil, nil
end

--- Makes a store: the functions that the core supplies, and `count`.
---@return table
function fake.new_store()
  local store = { objects = setmetatable({}, { __mode = "k" }),
                  alive = setmetatable({}, { __mode = "k" }), updates = 0 }
  function store.add(obj)
    local key = setmetatable({ store = store }, Key)
    store.alive[key] = true
    store.objects[key] = obj
    return key
  end
  function store.read(key)
    assert(store.alive[key], "the key was removed")
    return store.objects[key]
  end
  function store.update(key, obj)
    assert(store.alive[key], "the key was removed")
    store.objects[key] = obj
    store.updates = store.updates + 1
  end
  function store.count()
    local n = 0
    for _ in pairs(store.alive) do n = n + 1 end
    return n
  end
  return store
end

--- Two collections: the second for what finalisers of the first let go.
function fake.collect()
  collectgarbage()
  collectgarbage()
end

--- A copy of the module of its own: a state of its own, for what it knows.
---@param store table
---@return function glob_store_attributes
---@return table module
function fake.new_state(store)
  local module = dofile("lua/tidemill/class.lua")
  return module(store), module
end

--- Sends an instance as the codec does: `stow` first, then field by field,
--- boxes rebuilt by what their `__tidemill_send` says. With `class` and
--- `module`, to a state where those are the instance's class and ours.
---@param instance table
---@param class table|nil
---@param module table|nil
---@return table
function fake.send(instance, class, module)
  local mt, copy = getmetatable(instance), {}
  local to = class and rawget(class, "__instanceDict") or class or mt
  mt.__tidemill_stow(instance)
  for k, v in next, instance do
    local meta = type(v) == "table" and getmetatable(v)
    if meta and meta.__tidemill_send then
      local rebuild, its_class, keys = meta.__tidemill_send(v)
      assert(its_class == mt)
      local sent = {}
      for name, key in pairs(keys) do sent[name] = key end
      v = (module and module.arrive or rebuild)(to, sent)
    end
    copy[k] = v
  end
  return setmetatable(copy, to)
end

--- Every value within reach of an instance's raw fields, by `next` alone.
---@param t any
---@param value any
---@return boolean
function fake.holds(t, value, seen)
  seen = seen or {}
  if rawequal(t, value) then return true end
  if type(t) ~= "table" or seen[t] or getmetatable(t) == Key then
    return false
  end
  seen[t] = true
  for _, v in next, t do
    if fake.holds(v, value, seen) then return true end
  end
  return false
end

return fake
