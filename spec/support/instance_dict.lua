--- instance_dict.lua: a small class library of the middleclass kind
---
--- Instances do not have the class as their metatable but a table that the
--- class keeps, `__instanceDict`, with every method in it, inherited ones
--- too. Assigning to the class declares a method, in its dict and in those
--- of subclasses that have none of their own by that name. Stands in for
--- middleclass in specs where that is not installed.

local Object = { static = {} }

--- What `Class.__index = f` means to instances: their methods come first.
local function index_after_methods(dict, f)
  if f == nil then return dict end
  return function(self, name)
    local method = dict[name]
    if method ~= nil then return method end
    if type(f) == "function" then return (f(self, name)) end
    return f[name]
  end
end

local function install(class, name, value)
  local dict = class.__instanceDict
  if name == "__index" then value = index_after_methods(dict, value) end
  dict[name] = value
  for subclass in pairs(class.subclasses) do
    if subclass.declared[name] == nil then install(subclass, name, value) end
  end
end

local function declare(class, name, value)
  class.declared[name] = value
  if value == nil and rawget(class, "super") then
    value = class.super.__instanceDict[name]
  end
  install(class, name, value)
end

local function find_static(class)
  return function(_, name)
    local value = class.__instanceDict[name]
    if value ~= nil then return value end
    local parent = rawget(class, "super") or Object
    return parent.static[name]
  end
end

local function new_class(name, super)
  local dict = {}
  dict.__index = dict
  local class = {
    name = name, super = super, declared = {}, __instanceDict = dict,
    subclasses = setmetatable({}, { __mode = "k" }),
  }
  class.static = setmetatable({}, { __index = find_static(class) })
  return setmetatable(class, {
    __index = class.static,
    __newindex = declare,
    __call = function(self, ...) return self:new(...) end,
    __tostring = function(self) return "class " .. self.name end,
  })
end

function Object.static.allocate(class)
  return setmetatable({ class = class }, class.__instanceDict)
end

function Object.static.new(class, ...)
  local instance = class:allocate()
  instance:initialize(...)
  return instance
end

function Object.static.subclass(class, name)
  local subclass = new_class(name, class)
  for key, value in pairs(class.__instanceDict) do
    if key ~= "__index" or type(value) == "function" then
      install(subclass, key, value)
    end
  end
  class.subclasses[subclass] = true
  return subclass
end

function Object.static.isSubclassOf(class, other)
  local super = rawget(class, "super")
  return super ~= nil and (super == other or super:isSubclassOf(other))
end

--- Makes a class.
---@param name string
---@param super table|nil
---@return table
return function(name, super)
  if super then return super:subclass(name) end
  local class = new_class(name)
  class.initialize = function() end
  class.isInstanceOf = function(self, other)
    return self.class == other or self.class:isSubclassOf(other)
  end
  return class
end
