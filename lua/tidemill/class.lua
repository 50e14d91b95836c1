--- class.lua: attributes of a class that live in the global store
---
--- `glob_store_attributes("a")(Class)` leaves the class what it is and wraps
--- the `__index` and `__newindex` of its instances. `instance.a = obj` then
--- stores obj and keeps a key; `instance.a` reads it. An instance that is
--- sent to a worker carries keys.
---
--- An instance's raw table has one field of ours, KEYS: its box.
---   keys     name of an attribute -> key. A key is counted: the object goes
---            from the store with the last instance that holds it.
---   class    the metatable of the instance that the box was made for
---   owner    the instance that made the box. A raw copy shares its
---            original's box, and one that was sent has no owner: both get a
---            box of their own at their first assignment.
---   foreign  nil, or the names whose key another instance stored. Such a
---            key is replaced when the attribute is assigned, an own one is
---            updated: so the copy that a worker has is its own.
---
--- A metatable that makes instances has another, INFO:
---   class    that metatable; another one when a class library copied the
---            field from a parent to a subclass
---   of       what the user calls the class, where that is another table
---   names, has  its stored attributes, parents' first: a list, a set
---   settled  false until an instance was used: parents may be set, and
---            __index defined, after the class was decorated
---   index, newindex          what we put there
---   old_index, old_newindex  what was there, or what the class set since
--- An INFO never changes, since the wrappers refer to it: a class that
--- chains a new __index to ours must reach the older one. hook() makes a
--- new INFO.
---
--- The wrappers travel to workers by value, inside the class; what they call
--- is exported here and travels by name.

local class = {}

local KEYS <const> = "__tm_keys"
local INFO <const> = "__tm_stored"

--- Fields by which classes of all kinds name what they inherit from.
local LINKS = { "__index", "super", "_base", "__instanceDict" }

-- A class may hide its metatable from getmetatable.
local getmeta = debug and debug.getmetatable or getmetatable
local error, pcall, rawget, rawset, type = error, pcall, rawget, rawset, type
local next, setmetatable = next, setmetatable

--- The functions of the state's store, once bound.
local store

local function bound()
  if not store then require "tidemill" end
  return store or error("tidemill.class needs require \"tidemill\"", 0)
end

-- ---- boxes ---------------------------------------------------------------

--- Keys are made after their instance, so they are finalised before it. That
--- a class's own `__gc` can read, its boxes are guarded: they have a finaliser
--- too. Their keys are held here until it ran, and so outlive that collection.
local pinned = {} -- luacheck: ignore 241 (it is there to hold them)

--- When the state closes nothing outlives anything. Then what an instance
--- stored itself is put back as plain fields, from here: guarded box ->
--- name -> object.
local kept = setmetatable({}, { __mode = "k" })

--- Metatables of boxes; the second is for classes with a finaliser.
class.box = { __name = "tidemill.box" }
class.guarded_box = { __name = "tidemill.box" }

function class.guarded_box.__gc(box)
  local owner = box.owner
  pinned[box.keys] = nil
  if owner and rawget(owner, KEYS) == box then
    for name, obj in next, kept[box] do rawset(owner, name, obj) end
  end
end

local function new_box(mt, keys, owner, foreign)
  local box = { class = mt, keys = keys, owner = owner, foreign = foreign }
  if not rawget(mt, "__gc") then return setmetatable(box, class.box) end
  pinned[keys] = true
  kept[box] = {}
  return setmetatable(box, class.guarded_box)
end

--- A box for `self` with the keys of another: one that it shares, or its own
--- from before it had a class with a finaliser.
local function renewed_box(self, mt, old)
  local foreign = old.owner == self and old.foreign or {}
  local box = new_box(mt, {}, self, foreign)
  for name, key in next, old.keys do
    box.keys[name] = key
    if old.owner ~= self then foreign[name] = true end
  end
  return box
end

--- The box of `self` that it may change.
local function own_box(self, mt)
  local box = rawget(self, KEYS)
  if not box then
    box = new_box(mt, {}, self)
  elseif box.owner == self and (kept[box] or not rawget(mt, "__gc")) then
    return box
  else
    box = renewed_box(self, mt, box)
  end
  rawset(self, KEYS, box)
  return box
end

--- Stores `value` as an attribute. The key of a value that is replaced by
--- nil is dropped, not removed: copies in workers may hold it too.
local function put(self, name, value, mt)
  if value == nil and rawget(self, KEYS) == nil then return end
  local box = own_box(self, mt)
  local keys, foreign = box.keys, box.foreign
  local key = keys[name]
  if value == nil then
    keys[name] = nil
  elseif key == nil or foreign and foreign[name] then
    keys[name] = (store or bound()).add(value)
  else
    (store or bound()).update(key, value)
  end
  if foreign then foreign[name] = nil end
  if kept[box] then kept[box][name] = value end
end

-- ---- classes -------------------------------------------------------------

local function add_names(names, has, more)
  for _, name in ipairs(more) do
    if not has[name] then
      has[name] = true
      names[#names + 1] = name
    end
  end
end

--- The INFO that a function as `__index` finds: a search in several parents.
local function found_by(index, t)
  local ok, info = pcall(index, t, INFO)
  if ok and type(info) == "table" and type(rawget(info, "names")) == "table"
  then
    return info
  end
end

--- Adds the stored attributes of `t`, a class or part of one, and of all
--- that it inherits from, parents' first.
local function gather(names, has, t, seen)
  if type(t) ~= "table" or seen[t] then return end
  seen[t] = true
  local meta = getmeta(t)
  gather(names, has, meta, seen)
  for _, link in ipairs(LINKS) do gather(names, has, rawget(t, link), seen) end
  local info = rawget(t, INFO)
  local index = meta and rawget(meta, "__index")
  if not info and type(index) == "function" and not rawget(meta, INFO) then
    info = found_by(index, t)
  end
  if info then add_names(names, has, info.names) end
end

--- All stored attributes of instances whose metatable is `mt`.
local function attributes(mt, of, base, more)
  local names, has = {}, {}
  local seen = {}
  gather(names, has, of, seen)
  gather(names, has, mt, seen)
  add_names(names, has, base.names)
  add_names(names, has, more)
  return names, has
end

--- An `__index` that reads stored attributes, then does as `old` does. That
--- KEYS is never inherited lets it do without rawget, a call.
local function index_over(old)
  local read = class.read
  if type(old) == "function" then
    return function(self, k)
      if k == KEYS then return nil end
      local box = self[KEYS]
      local key = box and box.keys[k]
      if key ~= nil then return read(key) end
      return old(self, k)
    end
  end
  if old == nil then old = {} end
  return function(self, k)
    if k == KEYS then return nil end
    local box = self[KEYS]
    local key = box and box.keys[k]
    if key ~= nil then return read(key) end
    return old[k]
  end
end

local function newindex_over(info)
  local assign = class.assign
  return function(self, k, v) return assign(self, k, v, info) end
end

--- Puts our wrappers where they are not, or not any more, in `mt`. `base` is
--- its INFO so far, or a parent's. Until the class is settled, a missing
--- `__index` is left to the class to define.
local function hook(mt, base, more, settled, of)
  of = of or base.class == mt and base.of or nil
  local index, newindex = rawget(mt, "__index"), rawget(mt, "__newindex")
  local info = { class = mt, of = of, settled = settled }
  info.names, info.has = attributes(mt, of, base, more)
  if index == base.index then index = base.old_index end
  if newindex == base.newindex then newindex = base.old_newindex end
  info.old_index, info.old_newindex = index, newindex
  info.newindex = newindex_over(info)
  rawset(mt, "__newindex", info.newindex)
  if index ~= nil or settled then
    info.index = index_over(index)
    rawset(mt, "__index", info.index)
  end
  if rawget(mt, "__pairs") == nil then rawset(mt, "__pairs", class.pairs) end
  rawset(mt, "__tidemill_stow", class.stow)
  rawset(mt, INFO, info)
  return info
end

--- The INFO of `mt`, brought up to date; `base` serves where there is none.
local function settle(mt, base)
  local info = rawget(mt, INFO) or base
  if info.settled and info.class == mt
    and rawget(mt, "__index") == info.index then
    return info
  end
  return hook(mt, info, {}, true)
end

-- ---- what the wrappers call ----------------------------------------------

--- Reads an object of this state's store.
---@param key userdata
---@return any
function class.read(key)
  return (store or bound()).read(key)
end

--- What an assignment means to a class without `__newindex`, as in Lua.
local function set_field(self, k, v)
  if k == nil then error("index is nil", 3) end
  if k ~= k then error("index is NaN", 3) end
  rawset(self, k, v)
end

--- `self[k] = v`, in the wrapper of a class with this INFO.
---@param self table
---@param k any
---@param v any
---@param info table
function class.assign(self, k, v, info)
  local mt = getmeta(self)
  local has = mt and settle(mt, info).has or info.has
  local old = info.old_newindex
  if has[k] then
    put(self, k, v, mt)
  elseif old == nil then
    set_field(self, k, v)
  elseif type(old) == "function" then
    old(self, k, v)
  else
    old[k] = v
  end
end

--- `pairs(instance)`: its own fields without ours, then its attributes, each
--- read when its turn comes.
---@param self table
---@return function, table, nil
function class.pairs(self)
  local info = rawget(getmeta(self), INFO)
  local names, i = info and info.names or {}, 0
  local fields = true
  local function step(_, k)
    if fields then
      local v
      repeat k, v = next(self, k) until k ~= KEYS
      if k ~= nil then return k, v end
      fields = false
    end
    local keys = (rawget(self, KEYS) or { keys = {} }).keys
    repeat
      i = i + 1
      local name = names[i]
      local key = name and rawget(self, name) == nil and keys[name]
      if key then return name, class.read(key) end
    until not name
  end
  return step, self, nil
end

--- Moves stored attributes that are plain fields of an instance, as after
--- `setmetatable({a = obj}, Class)`, to the store. The codec calls it, as
--- `__tidemill_stow`, before it reads the fields of the instance.
---@param self table
function class.stow(self)
  local mt = getmeta(self)
  local info = mt and rawget(mt, INFO)
  if not info or rawget(self, "__index") ~= nil then return end
  for _, name in ipairs(settle(mt, info).names) do
    local value = rawget(self, name)
    if value ~= nil then
      put(self, name, value, mt)
      rawset(self, name, nil)
    end
  end
end

--- Makes the box of an instance that was sent; its class may have come by
--- name, and then no instance of it has been used in this state.
---@param mt table the instance's metatable
---@param keys table<string, userdata>
---@return table
function class.arrive(mt, keys)
  local info = rawget(mt, INFO)
  if info then settle(mt, info) end
  return new_box(mt, keys)
end

function class.box.__tidemill_send(box)
  local owner = box.owner
  return class.arrive, owner and getmeta(owner) or box.class, box.keys
end

class.guarded_box.__tidemill_send = class.box.__tidemill_send

-- ---- the decorator -------------------------------------------------------

local NAME <const> = "glob_store_attributes"

local function check_names(names)
  for i = 1, names.n do
    local name = names[i]
    if type(name) == "table" then
      error(("bad argument #%d to '%s' (attribute name expected, got table; "
        .. "the class comes after the names: %s(\"a\", \"b\")(Class))"):format(
        i, NAME, NAME), 3)
    elseif type(name) ~= "string" then
      error(("bad argument #%d to '%s' (attribute name expected, got %s)")
        :format(i, NAME, name == nil and "nil" or type(name)), 3)
    elseif name == KEYS then
      error(("bad argument #%d to '%s' (the name '%s' is reserved)"):format(
        i, NAME, KEYS), 3)
    end
  end
end

--- The metatable of a class's instances: of plain and Penlight classes the
--- class itself, of middleclass another table.
local function instance_metatable(cls)
  if type(cls) ~= "table" then
    error(("%s: class expected, got %s"):format(NAME, type(cls)), 3)
  end
  local dict = rawget(cls, "__instanceDict")
  if dict ~= nil and type(dict) ~= "table" then
    error(("%s: unknown kind of class: its __instanceDict is a %s"):format(
      NAME, type(dict)), 3)
  elseif rawget(cls, KEYS) ~= nil then
    error(("%s: class expected, got an instance"):format(NAME), 3)
  end
  return dict or cls
end

--- Says that instances of a class keep the attributes named in the global
--- store. A subclass of such a class knows its parents' attributes; a plain
--- one is decorated too, with names of its own or without.
---@param ... string names of attributes
---@return fun(class: table): table decorator returns the class it is given
local function glob_store_attributes(...)
  local names = table.pack(...)
  check_names(names)
  return function(cls)
    local mt = instance_metatable(cls)
    local of = mt ~= cls and cls or nil
    local base = rawget(mt, INFO) or { names = {} }
    if #attributes(mt, of, base, names) == 0 then
      error(NAME .. ": no attribute named, and no parent class has any", 2)
    end
    hook(mt, base, names, false, of)
    return cls
  end
end

--- Gives this state's classes their store. Calling the module does it.
---@param functions table add, read, update, as the core supplies them
---@return function glob_store_attributes
local function bind(_, functions)
  store = functions
  return glob_store_attributes
end

return setmetatable(class, { __call = bind })
