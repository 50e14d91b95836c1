-- The decoder fed with messages that were tampered with: it may raise, and
-- must not crash. Functions are left out, as bytecode is trusted.
-- TIDEMILL_FUZZ is the number of messages (20000 unless set).

local core = require "tidemill.core"
local tm = require "tidemill"

local rounds = tonumber(os.getenv("TIDEMILL_FUZZ"))
  or os.getenv("TIDEMILL_STRESS") == "small" and 4000 or 20000

local function chain(n)
  local t = {}
  for _ = 1, n do t = { t } end
  return t
end

local function seeds()
  local shared, cycle = { "shared" }, {}
  cycle.cycle = cycle
  local key = core.store_counted { 1, 2 }
  local C = setmetatable({ data = shared, list = {} },
                         { __mode = "k", tag = cycle })
  C.__index = C
  local o = setmetatable({ x = 1, up = shared }, C)
  C.list[1] = o
  local floats, records, text = {}, {}, ("long"):rep(100)
  for i = 1, 40 do floats[i] = i / 3 end
  for i = 1, 5 do records[i] = { id = i, name = "n" .. i, xs = { i, 2 } } end
  local values = {
    42, "text", { 1, 2, 3 }, floats, { 1, "a", 2.5, true, { {} }, false },
    { text, text, a = text }, { shared, shared, [shared] = shared }, cycle,
    records, { key, key, tm.Counter(5, "n {}"), tm.task("t", print) },
    { string.format, io.stdout, tm, math.huge, o }, chain(400), o, { C, o },
    { [1.5] = 1, [true] = 2, [-1] = 3, [text] = 4, n = 5 }, { _G = _G },
  }
  local list = {}
  for i, value in ipairs(values) do list[i] = core.pack(value) end
  return list, values -- a class must live to be known when it comes back
end

local random = math.random

local function byte()
  -- small numbers are tags, counts and flags
  return string.char(random(3) == 1 and random(0, 255) or random(0, 20))
end

local changes = {
  function(s, i) return s:sub(1, i - 1) .. byte() .. s:sub(i + 1) end,
  function(s, i) return s:sub(1, i - 1) .. byte() .. s:sub(i) end,
  function(s, i) return s:sub(1, i - 1) .. s:sub(i + random(9)) end,
  function(s, i) return s:sub(1, i) end,
  function(s, i)
    local j = random(#s)
    return s:sub(1, i) .. s:sub(j, j + random(40)) .. s:sub(i + 1)
  end,
  function(s, i)
    local word = string.pack("<I8", random(4) == 1 and random(0) or random(99))
    return s:sub(1, i - 1) .. word .. s:sub(i + 8)
  end,
}

local function mutate(s)
  for _ = 1, random(3) do
    if #s == 0 then return s end
    s = changes[random(#changes)](s, random(#s))
  end
  return s
end

describe("unpack", function()
  local saved

  -- What is put in a message's sections are globals: none of these may stay.
  setup(function()
    saved = {}
    for k, v in pairs(package.loaded._G) do saved[k] = v end
  end)
  teardown(function()
    local globals = package.loaded._G
    for k in pairs(globals) do globals[k] = saved[k] end
  end)

  it("raises errors for bytes that are no message", function()
    math.randomseed(20, 26)
    local read, refused = 0, 0
    local list, values = seeds()
    for _ = 1, rounds do
      local message = mutate(list[random(#list)])
      if not message:find("\27Lua", 1, true) then
        if pcall(core.unpack, message) then
          read = read + 1
        else
          refused = refused + 1
        end
      end
    end
    collectgarbage()
    assert.is_true(read > 0 and refused > 0 and #values == #list)
  end)

  it("raises errors for messages that were cut short", function()
    local list, values = seeds()
    for i, message in ipairs(list) do
      assert.is_true((pcall(core.unpack, message)))
      assert.is_not_nil(values[i])
      for n = 0, #message - 1, math.max(1, #message // 200) do
        assert.is_false((pcall(core.unpack, message:sub(1, n))))
      end
    end
  end)

  it("does not follow nesting without end", function()
    local deep = ("\7\0" .. ("\0"):rep(8) .. "\3\1\0\0\0"):rep(200000)
    local ok, e = pcall(core.unpack, "\0\1" .. deep)
    assert.is_false(ok)
    assert.match("malformed message", e)
    local rebuilt = ("\13\0\1\0\0\0"):rep(200000)
    assert.is_false((pcall(core.unpack, "\0\1" .. rebuilt)))
  end)
end)
