-- What a script can use is described: in core.d.lua for editors, and in
-- README.md for readers. The lists are taken from the code itself.

local tm = require "tidemill"
local core = require "tidemill.core"
local options = require "tidemill.options"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local TYPES, README = read "lua/tidemill/core.d.lua", read "README.md"

local function sorted(t, keep)
  local names = {}
  for name in pairs(t) do
    if not keep or keep(name) then names[#names + 1] = name end
  end
  table.sort(names)
  assert(#names > 0, "an empty list proves nothing")
  return names
end

-- A local variable that a function of ours uses.
local function upvalue_of(f, wanted)
  for i = 1, math.huge do
    local name, value = debug.getupvalue(f, i)
    if name == wanted then return value end
    assert(name, "no upvalue '" .. wanted .. "'")
  end
end

local function public(name)
  return name:find("^__") == nil
end

-- The text of a class's annotations: to the next empty line.
local function class_text(name)
  local text = TYPES:match("\n(%-%-%-@class " .. name:gsub("%p", "%%%0")
    .. "\n.-)\n\n")
  return assert(text, "core.d.lua has no class " .. name)
end

-- "tm.map" -> { list = "(f, items)", text = what stands above it }.
local documented, count_documented = {}, 0
do
  local comment = {}
  for line in TYPES:gmatch("([^\n]*)\n") do
    local name, list = line:match("^function ([%w_.:]+)(%b())")
    if line:find("^%-%-%-") then
      comment[#comment + 1] = line
    else
      if name then
        local text = "\n" .. table.concat(comment, "\n")
        documented[name] = { list = list, text = text }
        count_documented = count_documented + 1
      end
      comment = {}
    end
  end
end

-- What is missing of a list, in one message.
local function check_all(names, has)
  local missing = {}
  for _, name in ipairs(names) do
    if not has(name) then missing[#missing + 1] = name end
  end
  assert.equal("", table.concat(missing, " "))
end

local function check_functions(owner, names)
  check_all(names, function(name)
    local found = documented[owner .. name]
    return found and found.text:find("\n%-%-%- ")
  end)
end

local function check_fields(class, names)
  local text = class_text(class)
  check_all(names, function(name)
    return text:find("\n---@field " .. name .. "%f[? ]")
  end)
end

-- In the README, names stand in code: `map(f, items, opts)`, pool:map(...).
local function check_readme(names, prefix)
  check_all(names, function(name)
    return README:find("`" .. name .. "%f[^%w_]")
      or README:find("[%.:]" .. name .. "%f[^%w_]")
      or prefix and README:find(prefix .. name, 1, true)
  end)
end

local methods = sorted(core.pool_meta.__index, public)
local result_methods = sorted(require("tidemill.result").Result, public)
local counter_methods = sorted(getmetatable(tm.Counter()).__index, public)
local array_methods = sorted(core.array_methods, function(name)
  return type(core.array_methods[name]) == "function"
end)
local array_fields = sorted(core.array_methods, function(name)
  return type(core.array_methods[name]) ~= "function"
end)
local pool_options = sorted(upvalue_of(tm.Pool, "pool_options"))
local call_options = sorted(upvalue_of(options.read, "declared"))
local task_fields = upvalue_of(tm.task, "TASK_FIELDS")
local settings = {}

for i, setting in ipairs(require("tidemill.config").keys) do
  settings[i] = setting.name
end

local _, raised = pcall(tm.FakePool().map, tm.FakePool(), error, { "oops" })
local error_fields = sorted(raised)

describe("the module", function()
  local functions = sorted(tm, function(name)
    return type(tm[name]) == "function"
  end)
  local values = sorted(tm, function(name)
    return type(tm[name]) ~= "function"
  end)

  it("has its functions in core.d.lua and in the README", function()
    check_functions("tm.", functions)
    check_readme(functions)
  end)

  it("has its values there", function()
    check_fields("tidemill", values)
    check_all(values, function(name)
      return name == "version" or README:find("tm%." .. name)
    end)
  end)
end)

describe("pools", function()
  it("have their methods in core.d.lua and in the README", function()
    check_functions("Pool:", methods)
    check_readme(methods)
  end)

  it("have the options of their methods there", function()
    check_fields("tidemill.options", call_options)
    check_readme(call_options)
  end)

  it("have the options that make them there", function()
    check_fields("tidemill.pool_options", pool_options)
    check_readme(pool_options)
  end)

  it("have the fields of their errors there", function()
    check_fields("tidemill.error", error_fields)
    check_readme(error_fields)
  end)
end)

describe("results, counters and tasks", function()
  it("have their methods in core.d.lua and in the README", function()
    check_functions("Result:", result_methods)
    check_readme(result_methods)
    check_functions("Counter:", counter_methods)
    check_readme(counter_methods)
  end)

  it("have the fields of tm.task there", function()
    check_fields("tidemill.task_fields", task_fields)
    check_readme(task_fields)
  end)
end)

describe("arrays", function()
  it("have their methods and fields in core.d.lua and in the README", function()
    check_functions("Array:", array_methods)
    check_readme(array_methods)
    check_fields("tidemill.array", array_fields)
    check_readme(array_fields)
  end)
end)

describe("tm.cpus", function()
  it("has its fields in core.d.lua and in the README", function()
    local fields = sorted(tm.cpus())
    check_fields("tidemill.cpus", fields)
    check_readme(fields)
  end)
end)

describe("settings", function()
  it("are in core.d.lua and in the README", function()
    check_fields("tidemill.config", settings)
    check_all(settings, function(name)
      return README:find("\n  " .. name .. " = ")
    end)
  end)

  it("have the defaults in the README that they have", function()
    local text = README:match("<!%-%- config %-%->\n```lua\n(.-)```")
    local shown = assert(load(text))()
    for _, setting in ipairs(require("tidemill.config").keys) do
      local default = setting.default
      if default == nil then default = false end
      if setting.name ~= "max_memory_per_child" then
        assert.equal(default, shown[setting.name], setting.name)
      end
    end
  end)
end)

describe("core.d.lua", function()
  it("is Lua", function()
    assert(load(TYPES, "=core.d.lua", "t"))
  end)

  it("describes nothing that is not there", function()
    local known = { tm = tm, Pool = core.pool_meta.__index,
                    Result = require("tidemill.result").Result,
                    Counter = getmetatable(tm.Counter()).__index,
                    Array = core.array_methods }
    for full in pairs(documented) do
      local owner, name = full:match("^(%a+)[.:]([%w_]+)$")
      assert.is_function(known[owner] and known[owner][name], full)
    end
    assert.is_true(count_documented > 40)
  end)

  it("describes each parameter of each function, and no other", function()
    for name, found in pairs(documented) do
      local named = {}
      for parameter in found.text:gmatch("\n%-%-%-@param ([%w_.]+)") do
        named[#named + 1] = parameter
      end
      assert.equal(name .. found.list,
                   name .. "(" .. table.concat(named, ", ") .. ")")
    end
  end)
end)
