-- Arrays: making them, elements, views, what they weigh.

local tm = require "tidemill"
local core = require "tidemill.core"
local pools = require "spec.support.pools"

local REAL = { "f64", "f32", "i64", "i32", "u8" }
local ALL = { "f64", "f32", "i64", "i32", "u8", "c128" }
local SIZE = { f64 = 8, f32 = 4, i64 = 8, i32 = 4, u8 = 1, c128 = 16 }
local GIB <const> = 1 << 30

local function message_of(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  return err
end

local function has(pattern, f, ...)
  assert.matches(pattern, message_of(f, ...))
end

local function set(a, i, v) a[i] = v end
local function get(a, i) return a[i] end

-- Bytes of the arena in use when all garbage is gone.
local function used()
  pools.collect()
  return core.arena_stats().used
end

describe("an array", function()
  describe("is made", function()
    it("of zeros, of each type and shape", function()
      for _, dtype in ipairs(ALL) do
        local a = tm.array(dtype, { 2, 3 })
        assert.equal(dtype, a.dtype)
        assert.same({ 2, 3 }, a.shape)
        assert.equal(6, a.size)
        assert.equal(2, a.rank)
        assert.equal(2, #a)
        assert.is_false(a.readonly)
        assert.equal(0, (a:reshape(6):get(6)))
      end
      assert.same({ 5 }, tm.array("f64", 5).shape)
      assert.same({ 5 }, tm.array("f64", { 5 }).shape)
      assert.equal(8, tm.array("u8", { 1, 2, 1, 2, 1, 2, 1, 1 }).rank)
    end)

    it("of values, f64 unless a type is given", function()
      assert.equal("array f64[3] [1 2 3]", tostring(tm.array { 1, 2, 3 }))
      assert.equal("array i64[3] [1 2 3]",
        tostring(tm.array({ 1, 2, 3 }, "i64")))
      assert.equal("array f64[2x2] [[1 2] [3 4]]",
        tostring(tm.array { { 1, 2 }, { 3, 4 } }))
      assert.equal("array c128[2] [1+2i 3-4i]",
        tostring(tm.array({ { 1, 2 }, { 3, -4 } }, "c128")))
      assert.same({ 1, 2, 3 }, tm.array(tm.range(3)):totable())
    end)

    it("without elements", function()
      for _, a in ipairs { tm.array {}, tm.array("u8", 0) } do
        assert.equal(0, #a)
        assert.same({}, a:totable())
        assert.equal(0, a:sum())
        has("without elements", get, a, 1)
      end
      assert.same({ {}, {} }, tm.array("f64", { 2, 0 }):totable())
      assert.equal("array f64[0x3]", tostring(tm.array("f64", { 0, 3 })))
    end)

    it("not of what makes no sense", function()
      local array = tm.array
      has("unknown dtype 'f63'", array, "f63", 3)
      has("not negative", array, "f64", -1)
      has("whole number", array, "f64", 1.5)
      has("whole number", array, "f64", "3")
      has("whole number", array, "f64", { 1, "2" })
      has("whole number", array, "f64")
      has("1 to 8 extents", array, "f64", {})
      has("1 to 8 extents", array, "f64", { 1, 1, 1, 1, 1, 1, 1, 1, 1 })
      has("dtype", array, 3)
      has("dtype", array)
      has("ragged", array, { { 1, 2 }, { 3 } })
      has("one depth", array, { { 1, 2 }, 3 })
      has("a number expected, got table", array, { 1, { 2 } })
      has("a number expected, got string", array, { 1, "2" })
      has("pair", array, { 1, 2 }, "c128")
      has("pair", array, { { 1, 2 }, { 3 } }, "c128")
      has("300 does not fit into u8", array, { 1, 300 }, "u8")
    end)

    it("with errors at the line of the caller", function()
      has("^spec/array_spec.lua:%d+: unknown dtype", function()
        return (tm.array("f63", 3))
      end)
      has("^spec/array_spec.lua:%d+: bad argument #2 to 'array'", function()
        return (tm.array("f64", -1))
      end)
    end)
  end)

  describe("has elements", function()
    it("that keep what is written to them", function()
      local values = { f64 = 1 / 3, f32 = 0.25, i64 = math.mininteger,
                       i32 = -2147483648, u8 = 255 }
      for _, dtype in ipairs(REAL) do
        local a = tm.array(dtype, 3)
        a[2] = values[dtype]
        assert.equal(values[dtype], a[2])
        assert.equal(math.type(values[dtype]), math.type(a[2]))
        assert.equal(0, a[1])
        assert.equal(0, a[3])
      end
    end)

    it("by indices like those of tables, in bounds", function()
      local a = tm.array { 10, 20, 30 }
      assert.equal(20, a[2])
      assert.equal(20, a[2.0])
      a[3.0] = 31
      assert.equal(31, a[3])
      has("index 4 is out of bounds %(1 to 3%)", get, a, 4)
      has("index 0 is out of bounds", get, a, 0)
      has("index %-1 is out of bounds", set, a, -1, 1)
      has("out of bounds", get, a, math.mininteger)
      has("whole number %(got 1.5%)", get, a, 1.5)
      has("whole number %(got inf%)", get, a, math.huge)
      has("got boolean", get, a, true)
      has("got string", set, a, "x", 1)
      assert.is_nil(a.nothing)
      assert.is_nil(a["2"])
    end)

    it("by get and set, of any rank", function()
      local a = tm.array("i32", { 2, 3, 4 })
      local n = 0
      for i = 1, 2 do
        for j = 1, 3 do
          for k = 1, 4 do
            n = n + 1
            assert.equal(a, a:set(i, j, k, n))
          end
        end
      end
      assert.equal(24, a:get(2, 3, 4))
      assert.equal(7, a:get(1, 2, 3))
      assert.equal(7, a[1][2][3])
      assert.equal(a[1][2], a:get(1, 2))
      has("out of bounds %(1 to 3%) in dimension 2", a.get, a, 1, 4, 1)
      has("takes 3 indices %(got 4%)", a.get, a, 1, 1, 1, 1)
      has("takes 3 indices %(got 0%)", a.get, a)
      has("3 indices and a value", a.set, a, 1, 1, 1)
    end)

    it("of two numbers in c128", function()
      local a = tm.array("c128", 3)
      a:set(2, 1.5, -2)
      a[3] = 4
      assert.same({ 1.5, -2.0 }, { a:get(2) })
      assert.same({ 4.0, 0.0 }, { a:get(3) })
      has("use get", get, a, 2)
      a:fill(1, 2)
      assert.same({ { 1, 2 }, { 1, 2 }, { 1, 2 } }, a:totable())
    end)

    it("that are never written wrongly", function()
      local u8, i32, i64 = tm.array("u8", 1), tm.array("i32", 1),
        tm.array("i64", 1)
      has("300 does not fit into u8 %(0 to 255%)", set, u8, 1, 300)
      has("%-1 does not fit into u8", set, u8, 1, -1)
      has("1.5 is not a whole number, as u8 takes", set, u8, 1, 1.5)
      has("nan does not fit", set, u8, 1, 0 / 0)
      has("inf does not fit", set, i64, 1, math.huge)
      has("does not fit into i64", set, i64, 1, 2.0 ^ 63)
      has("2147483648 does not fit into i32", set, i32, 1, 2147483648)
      has("a number expected, got string", set, u8, 1, "1")
      has("a number expected, got nil", set, u8, 1, nil)
      u8[1], i64[1] = 7.0, -2.0 ^ 63
      assert.equal(7, u8[1])
      assert.equal(math.mininteger, i64[1])
    end)

    it("in which an integer is not rounded", function()
      local f64, f32 = tm.array("f64", 1), tm.array("f32", 1)
      f64[1] = 1 << 53
      assert.equal(2.0 ^ 53, f64[1])
      has("9007199254740993 would be rounded in f64", set, f64, 1,
        (1 << 53) + 1)
      has("would be rounded", set, f64, 1, math.maxinteger)
      has("16777217 would be rounded in f32", set, f32, 1, 16777217)
      f64[1] = math.mininteger
      assert.equal(-2.0 ^ 63, f64[1])
      f32[1] = 0.1 -- a float is rounded to the type, as in C
      assert.equal(0.1, f32[1] + 0.1 - f32[1])
      assert.is_true(math.abs(f32[1] - 0.1) < 1e-8)
    end)
  end)

  describe("has rows and views", function()
    it("that show the same memory", function()
      local a = tm.array("f64", { 3, 4 })
      local row = a[2]
      row[3] = 5
      assert.equal(5, a:get(2, 3))
      assert.same({ 4 }, row.shape)
      local v = a:view(2, 3)
      assert.same({ 2, 4 }, v.shape)
      v[1][1] = 6
      assert.equal(6, row[1])
      local flat = a:reshape(12)
      assert.equal(6, flat[5])
      assert.same({ 2, 6 }, a:reshape { 2, 6 }.shape)
      assert.same({ 2, 3, 2 }, a:reshape(2, 3, 2).shape)
      assert.same({ 0, 4 }, a:view(2, 1).shape)
      assert.same({ 3, 4 }, a:view().shape)
      has("out of bounds", a.view, a, 0, 1)
      has("out of bounds", a.view, a, 1, 4)
      has("out of bounds", a.view, a, 3, 1)
      has("different numbers", a.reshape, a, 5)
    end)

    it("that are copied by assignment", function()
      local a = tm.array { { 1, 2 }, { 3, 4 } }
      a[1] = a[2]
      assert.same({ { 3, 4 }, { 3, 4 } }, a:totable())
      a[2] = tm.array({ 7, 8 }, "u8")
      a[1][1] = 9
      assert.same({ { 9, 4 }, { 7, 8 } }, a:totable())
      has("a row is f64%[2%], what is assigned is f64%[3%]", set, a, 1,
        tm.array("f64", 3))
      has("got number; fill", set, a, 1, 0)
      has("1.5 is not a whole number", set, tm.array("i32", { 1, 1 }), 1,
        tm.array { 1.5 })
    end)

    it("that keep the memory", function()
      local before = used()
      local row = tm.array("f64", { 2, 1000000 })[2]
      row[1000000] = 3
      pools.collect()
      assert.is_true(used() >= before + 16000000)
      assert.equal(3, row[1000000])
      row = nil -- luacheck: ignore row
      assert.is_true(used() < before + 16000000)
    end)
  end)

  it("is equal to what shows the same elements in the same shape", function()
    local a = tm.array("f64", { 2, 2 })
    assert.is_true(a == a:view(1, 2))
    assert.is_true(a[1] == a:get(1))
    assert.is_false(a[1] == a[2])
    assert.is_false(a == a:copy())
    assert.is_false(a == a:reshape(4))
    assert.is_false(a == 1)
    assert.is_true(tm.array("u8", 1) ~= tm.array("u8", 1))
  end)

  it("copies, also into another type", function()
    local a = tm.array { { 1, 2 }, { 3, 4 } }
    local b = a:copy()
    b[1][1] = 9
    assert.equal(1, a[1][1])
    assert.same({ { 1, 2 }, { 3, 4 } }, a:copy("u8"):totable())
    assert.same({ { { 1, 0 }, { 2, 0 } }, { { 3, 0 }, { 4, 0 } } },
      a:copy("c128"):totable())
    a[1][1] = 0.5
    has("0.5 is not a whole number", a.copy, a, "i64")
    has("imaginary", function()
      tm.array({ { 1, 2 } }, "c128"):copy "f64"
    end)
    has("unknown dtype", a.copy, a, "f16")
  end)

  it("is walked by pairs and iter", function()
    local seen = {}
    for i, x in pairs(tm.array { 5, 6, 7 }) do seen[i] = x end
    assert.same({ 5, 6, 7 }, seen)
    local sum = 0
    for i, row in tm.array({ { 1, 2 }, { 3, 4 } }):iter() do
      sum = sum + i * row:sum()
    end
    assert.equal(17, sum)
    for i, re, im in tm.array({ { 1, 2 } }, "c128"):iter() do
      assert.same({ 1, 1, 2 }, { i, re, im })
    end
  end)

  it("says in short what it is", function()
    assert.equal("array u8[20] [0 0 0 ... 0 0 0]",
      tostring(tm.array("u8", 20)))
    assert.equal("array f32[2x2] [[0.5 0.5] [0.5 0.5]]",
      tostring(tm.array("f32", { 2, 2 }):fill(0.5)))
    assert.is_true(#tostring(tm.array("u8", { 9, 9, 9, 9, 9, 9, 9 })) < 60)
    assert.is_true(#tostring(tm.array("u8", { 900, 900, 9 })) < 1000)
    assert.equal("tidemill.array", getmetatable(tm.array("f64", 1)))
  end)

  describe("has a weight", function()
    it("that goes with the last who has it, at once", function()
      local before = used()
      for _ = 1, 100 do
        local a = tm.array("f64", GIB // 64 // 8)
        a[#a] = 1
      end
      assert.is_true(used() <= before)
    end)

    it("of which the collector is told", function()
      local size, most = 16 << 20, 0
      pools.collect()
      local before = core.arena_stats().used
      for _ = 1, 200 do
        tm.array("u8", size)
        most = math.max(most, core.arena_stats().used - before)
      end
      assert.is_true(most <= 12 * size)
    end)

    it("that is left alone when the script stopped the collector", function()
      local _ <close> = setmetatable({}, {
        __close = function() collectgarbage "restart" end
      })
      collectgarbage "stop"
      local before = core.arena_stats().used
      for _ = 1, 3 do tm.array("u8", 40 << 20) end
      assert.is_true(core.arena_stats().used - before >= 3 * (40 << 20))
    end)

    it("that no machine has", function()
      has("not enough memory for an array u8%[%d+%] of 1 EiB",
        tm.array, "u8", 1 << 60)
      has("larger than any memory", tm.array, "c128", { 1 << 40, 1 << 40 })
      has("larger than any memory", tm.array, "f64", { 0, 1 << 62, 8 })
      has("not enough memory", tm.array, "u8",
        core.arena_stats().reserved)
      assert.equal(3, #tm.array("f64", 3)) -- all is well afterwards
    end)

    it("for which garbage makes room", function()
      local half = core.arena_stats().reserved // 5 * 3
      for _ = 1, 3 do
        local ok, a = pcall(tm.array, "u8", half)
        assert.is_true(ok)
        assert.equal(half, #a)
        a = nil -- luacheck: ignore a
      end
    end)
  end)

  it("stays one memory in the store and in messages", function()
    local a = tm.array("f64", { 2, 3 })
    local b, v = table.unpack(core.unpack(core.pack { a, a:view(2, 2) }))
    assert.is_true(a == b)
    v[1][3] = 8
    assert.equal(8, a[2][3])
    local key = tm.glob_store { field = a }
    assert.is_true(tm.glob_read(key).field == a)
    tm.glob_remove(key)
    local bytes = core.pack(a)
    for i = 1, #bytes - 1 do
      assert.is_false(pcall(core.unpack, bytes:sub(1, i)))
    end
  end)

  it("does not come back from bytes that lie", function()
    local bytes = core.pack(tm.array("f64", 3):view(1, 2))
    for i = 1, #bytes do
      for _, byte in ipairs { 0, 1, 7, 9, 255 } do
        local changed = bytes:sub(1, i - 1) .. string.char(byte)
          .. bytes:sub(i + 1)
        local ok, a = pcall(core.unpack, changed)
        if ok and core.is_array(a) then
          assert.is_true(a.size * SIZE[a.dtype] <= 64)
        end
      end
    end
  end)
end)
