--- fake_store.lua: a global store in one state, and how to send to another
---
--- What a key is to the core, a table with a finaliser is to this one: one of
--- the handles that an entry counts.

local fake = {}

local Key = {}

local function new_key(entry)
  entry.count = entry.count + 1
  return setmetatable({ entry = entry }, Key)
end

function Key.__gc(key)
  local entry = key.entry
  key.entry = nil
  entry.count = entry.count - 1
  if entry.count == 0 then entry.store.entries[entry] = nil end
end

--- Makes a store: the functions that the core supplies, and `count`.
---@return table
function fake.new_store()
  local store = { entries = setmetatable({}, { __mode = "k" }), updates = 0 }
  function store.add(obj)
    local entry = { object = obj, store = store, count = 0 }
    store.entries[entry] = true
    return new_key(entry)
  end
  function store.read(key)
    assert(key.entry, "the key was finalised")
    return key.entry.object
  end
  function store.update(key, obj)
    assert(key.entry, "the key was finalised")
    key.entry.object = obj
    store.updates = store.updates + 1
  end
  function store.count()
    local n = 0
    for _ in pairs(store.entries) do n = n + 1 end
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

--- A box as the codec sends it: what its `__tidemill_send` says, with keys
--- of its own.
local function send_box(box, mt, to, module)
  local rebuild, its_class, keys = getmetatable(box).__tidemill_send(box)
  assert(its_class == mt)
  local sent = {}
  for name, key in pairs(keys) do sent[name] = new_key(key.entry) end
  return (module and module.arrive or rebuild)(to, sent)
end

--- Sends an instance as the codec does: `stow` first, then field by field.
--- With `class` and `module`, to a state where those are the instance's
--- class and ours.
---@param instance table
---@param class table|nil
---@param module table|nil
---@return table
function fake.send(instance, class, module)
  local mt = getmetatable(instance)
  local to = class and rawget(class, "__instanceDict") or class or mt
  local copy = setmetatable({}, to)
  mt.__tidemill_stow(instance)
  for k, v in next, instance do
    local meta = type(v) == "table" and getmetatable(v)
    local is_box = meta and meta.__tidemill_send
    rawset(copy, k, is_box and send_box(v, mt, to, module) or v)
  end
  return copy
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
