-- The pages that `make docs` makes: each function of the headers and of the
-- Lua module has its entry.

require "tidemill"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local OUT = os.tmpname()
os.remove(OUT)

local function run(command)
  return os.execute(command .. " >" .. OUT .. "/log 2>&1"), read(OUT .. "/log")
end

-- The functions that a text declares, by a pattern.
local function functions(path, ...)
  local names, text = {}, "\n" .. read(path)
  for _, pattern in ipairs({ ... }) do
    for name in text:gmatch(pattern) do names[#names + 1] = name end
  end
  return names
end

local C <const> = functions("include/tidemill.h", "\nTM_API[^;(]-([%w_]+)%(",
  "\nstatic inline[^;(]-([%w_]+)%(")
local LUA <const> = functions("lua/tidemill/core.d.lua",
  "\nfunction ([%w_.:]+)%(")

local function missing(names, page, pattern)
  local list = {}
  for _, name in ipairs(names) do
    if not page:find(pattern:format((name:gsub("%p", "%%%0")))) then
      list[#list + 1] = name
    end
  end
  return table.concat(list, " ")
end

describe("the pages", function()
  setup(function() assert(os.execute("mkdir " .. OUT)) end)
  teardown(function() os.execute("rm -rf " .. OUT) end)

  it("have an entry for each function", function()
    local went, said = run("lua5.4 tools/docs.lua " .. OUT)
    assert.truthy(went, said)
    assert.is_true(#C > 80 and #LUA > 60)
    assert.equal("", missing(C, read(OUT .. "/tidemill_h.html"), ' id="%s">'))
    assert.equal("", missing(LUA, read(OUT .. "/tidemill_lua.html"),
      ' id="%s">'))
  end)

  it("have one index, whose links lead somewhere", function()
    local count = 0
    for file in read(OUT .. "/index.html"):gmatch('href="([^"]+)"') do
      assert.is_true(#read(OUT .. "/" .. file) > 1000)
      count = count + 1
    end
    assert.is_true(count >= 3)
  end)

  it("are made by Doxygen too, without a complaint", function()
    if not os.execute("command -v doxygen >/dev/null 2>&1") then
      local went, said = run("sh tools/doxygen.sh " .. OUT .. "/c")
      assert.truthy(went)
      assert.matches("^doxygen is not installed", said)
      return pending("doxygen is not installed")
    end
    local went, said = run("sh tools/doxygen.sh " .. OUT .. "/c")
    assert.truthy(went, said)
    local page = read(OUT .. "/c/tidemill_8h.html")
    assert.equal("", missing(C, page,
      '"memname">[^\n]-%%f[%%w_]%s </td>'))
  end)
end)
