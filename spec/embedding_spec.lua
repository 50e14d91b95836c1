-- The programs of docs/embedding.md, compiled and run. What each prints stands
-- after it, in the sentence that begins "It prints".

require "tidemill"

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  return text, pipe:close()
end

local HERE = output_of("pwd"):gsub("\n", "")
local TIDEMILL = os.getenv("TIDEMILL") or HERE .. "/build/tidemill"
local BUILD = TIDEMILL:match("^(.*)/")
local CFLAGS = os.getenv("LUA_CFLAGS") or "$(pkg-config --cflags lua5.4)"
local LIBS = os.getenv("LUA_LIBS") or "$(pkg-config --libs lua5.4)"
local WARN = "-std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror"

local file = assert(io.open("docs/embedding.md"))
local text = file:read("a")
file:close()

-- A sanitized library does not go with a plain host: there it only compiles.
local sanitized = BUILD:find("/[at]san$")

local function compile(source, program)
  local what = sanitized and "-fsyntax-only"
    or ("-o %s %s/libtidemill.a %s -lm -pthread"):format(
      quote(program), quote(BUILD), LIBS)
  return os.execute(("cc %s -I%s/include %s %s %s"):format(WARN,
    quote(HERE), CFLAGS, quote(source), what))
end

describe("docs/embedding.md", function()
  local count = 0
  for program, after in text:gmatch("\n```c\n(.-)\n```\n(.-)%f[`#\0]#") do
    count = count + 1
    it("has program " .. count .. " right", function()
      local name = os.tmpname()
      local out = assert(io.open(name .. ".c", "w"))
      out:write(program, "\n")
      out:close()
      assert.truthy(compile(name .. ".c", name))
      if not sanitized then
        local printed = output_of(quote(name))
        local expected = {}
        for line in printed:gmatch("[^\n]+") do
          expected[#expected + 1] = line
        end
        assert.is_true(#expected > 0)
        after = after:gsub("%s+", " ")
        for _, line in ipairs(expected) do
          assert.truthy(after:find("`" .. line .. "`", 1, true),
            "not in the text: " .. line)
        end
      end
      os.remove(name)
      os.remove(name .. ".c")
    end)
  end

  it("has four of them", function() assert.equal(4, count) end)
end)

-- A thread that was left behind in C code returns into the library.
describe("the library and the module", function()
  for _, name in ipairs(sanitized and {} or {"libtidemill", "tidemill"}) do
    it("is not unloaded: " .. name .. ".so", function()
      local so = BUILD .. "/" .. name .. ".so"
      assert.truthy(output_of("readelf -d " .. quote(so)):find("NODELETE"))
    end)
  end
end)
