-- NumPy's .npy files: what is written, what is read, what is refused.

local tm = require "tidemill"
local core = require "tidemill.core"
local pools = require "spec.support.pools"

local DTYPES = { f64 = "<f8", f32 = "<f4", i64 = "<i8", i32 = "<i4",
                 u8 = "|u1", c128 = "<c16" }

local paths = {}

local function temporary()
  local path = os.tmpname()
  paths[#paths + 1] = path
  return path
end

local function write(bytes)
  local path = temporary()
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  return path
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "a"
  file:close()
  return bytes
end

-- A file of the version with this header text and these data.
local function npy(text, data, version)
  local length = version and version > 1 and "<s4" or "<s2"
  return "\x93NUMPY" .. string.char(version or 1, 0) .. length:pack(text)
    .. (data or "")
end

local function header(descr, shape, fortran)
  return ("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n"):format(
    descr, fortran and "True" or "False", shape)
end

local function refuses(pattern, bytes, options)
  local path = write(bytes)
  local ok, err = pcall(tm.load, path, options)
  assert.is_false(ok)
  assert.matches(pattern, err)
  assert.is_nil(err:find("tidemill.npy:", 1, true))
end

-- 1, 2, 3 ... in an array of a type and shape.
local function counted(dtype, ...)
  local a = tm.array(dtype, { ... })
  local flat = a:reshape(a.size)
  for i = 1, a.size do flat:set(i, i) end
  return a
end

-- Python with NumPy, or nil.
local function find_numpy()
  for _, name in ipairs { "python3", "/usr/bin/python3" } do
    if os.execute(name .. " -c 'import numpy' 2>/dev/null") then
      return name
    end
  end
end

local function run_python(python, script, ...)
  local pipe = assert(io.popen(python .. " " .. write(script) .. " "
    .. table.concat({ ... }, " ") .. " 2>&1"))
  local text = pipe:read "a"
  assert.is_true(pipe:close(), text)
  return text
end

describe("a .npy file", function()
  teardown(function()
    for _, path in ipairs(paths) do os.remove(path) end
  end)

  it("brings an array of any type and shape back", function()
    for dtype in pairs(DTYPES) do
      for _, shape in ipairs { { 5 }, { 2, 3 }, { 2, 1, 3, 2 }, { 0 },
                               { 3, 0 }, { 1, 1, 1, 1, 1, 1, 1, 2 } } do
        local a, path = counted(dtype, table.unpack(shape)), temporary()
        assert.equal(a, a:save(path))
        for _, mmap in ipairs { false, true } do
          local b = tm.load(path, { mmap = mmap })
          assert.equal(dtype, b.dtype)
          assert.same(shape, b.shape)
          assert.same(a:totable(), b:totable())
          assert.equal(mmap, b.readonly)
        end
      end
    end
    assert.equal(tm.load, tm.array.load)
  end)

  it("is written as version 1.0, its data aligned to 64 bytes", function()
    local path = temporary()
    counted("i32", 2, 3):save(path)
    local bytes = read(path)
    assert.equal("\x93NUMPY\1\0", bytes:sub(1, 8))
    local text, at = ("<s2"):unpack(bytes, 9)
    assert.matches("^{'descr': '<i4', 'fortran_order': False, "
      .. "'shape': %(2, 3%), } *\n$", text)
    assert.equal(0, (at - 1) % 64)
    assert.same({ 1, 2, 3, 4, 5, 6, #bytes + 1 },
      { ("<i4i4i4i4i4i4"):unpack(bytes, at) })
    assert.equal(at - 1 + 24, #bytes)
    counted("u8", 4):save(path)
    assert.matches("'shape': %(4,%)", read(path))
  end)

  it("is read in versions 1, 2 and 3 and in Fortran order", function()
    local data = ("<i4i4i4i4i4i4"):pack(1, 2, 3, 4, 5, 6)
    for version = 1, 3 do
      local path = write(npy(header("<i4", "(2, 3)"), data, version))
      assert.same({ { 1, 2, 3 }, { 4, 5, 6 } }, tm.load(path):totable())
    end
    local long = header("<i4", "(2, 3)") .. (" "):rep(100000) .. "\n"
    assert.same({ { 1, 2, 3 }, { 4, 5, 6 } },
      tm.load(write(npy(long, data, 2))):totable())
    local turned = npy(header("<i4", "(2, 3)", true), data)
    assert.same({ { 1, 3, 5 }, { 2, 4, 6 } },
      tm.load(write(turned)):totable())
    refuses("Fortran order", turned, { mmap = true })
    assert.same({ 1, 2, 3, 4, 5, 6 },
      tm.load(write(npy(header("<i4", "(6,)", true), data))):totable())
  end)

  it("may hold a scalar, other spacing, and more than the array", function()
    local x = ("<d"):pack(2.5)
    assert.same({ 2.5 }, tm.load(write(npy(header("<f8", "()"), x))):totable())
    assert.same({ 2.5 }, tm.load(write(npy(
      '{ "shape" :(1,),"descr":"<f8" , "fortran_order":False}', x .. "more"
    ))):totable())
  end)

  it("is refused when it is not one that is known", function()
    local one = header("<f8", "(1,)")
    local x = ("<d"):pack(1)
    refuses("no .npy file", "")
    refuses("no .npy file", "something else")
    refuses("version 4.0", npy(one, x, 4))
    refuses("version 1.3", (npy(one, x):gsub("\1\0", "\1\3", 1)))
    refuses("big%-endian; save them as '<f8'", npy(header(">f8", "(1,)"), x))
    for _, descr in ipairs { "<f2", "|b1", "<U3", "|O", "<c8", "<u4", "" } do
      refuses("not known here", npy(header(descr, "(1,)"), x))
    end
    refuses("malformed", npy("{}", x))
    refuses("malformed", npy("", x))
    refuses("malformed", npy("__import__('os')", x))
    refuses("malformed", npy(one:gsub("}", ""), x))
    refuses("malformed", npy(one:gsub("shape", "shapes"), x))
    refuses("malformed", npy(one:gsub("}", "'descr': '<f8'}"), x))
    refuses("malformed", npy(one .. "more", x))
    refuses("'descr'", npy(one:gsub("'<f8'", "[('a', '<f8')]"), x))
    refuses("'fortran_order'", npy(one:gsub("False", "0"), x))
    for _, shape in ipairs { "(-1,)", "(1", "[1]", "(1.5,)", "x" } do
      refuses("'shape'", npy(header("<f8", shape), x))
    end
    for _, shape in ipairs { "(1)", "(,)", "(1,,)", "(1 2,)", "(L,)" } do
      refuses("shape", npy(header("<f8", shape), x))
    end
    refuses("9 dimensions", npy(header("<f8", "(1,1,1,1,1,1,1,1,1)"), x))
    refuses("an extent of 9+", npy(header("<f8", "(9999999999999999999,)"), x))
    refuses("no file holds", npy(header("<f8",
      "(1000000000000, 1000000000000)"), x))
    refuses("a header of", "\x93NUMPY\2\0" .. ("<I4"):pack(0xffffffff) .. one)
  end)

  it("is refused when it is cut short, wherever", function()
    local path = temporary()
    counted("f64", 2, 2):save(path)
    local bytes = read(path)
    for i = 0, #bytes - 1 do
      refuses("cut short", bytes:sub(1, i), { mmap = i % 2 == 0 })
    end
    -- before memory is taken for what is not there
    refuses("cut short: 8000000000000000 bytes",
      npy(header("<f8", "(1000000000000000,)"), "x"))
  end)

  it("does no harm when its bytes are changed", function()
    local path = temporary()
    counted("i32", 3):save(path)
    local bytes = read(path)
    math.randomseed(7)
    for _ = 1, 400 do
      local at = math.random(#bytes - 12)
      local changed = bytes:sub(1, at - 1) .. string.char(math.random(0, 255))
        .. bytes:sub(at + 1)
      local file = assert(io.open(path, "wb"))
      file:write(changed)
      file:close()
      local ok, a = pcall(tm.load, path, { mmap = math.random() < 0.5 })
      if ok then
        assert.is_true(core.is_array(a) and a.size <= 30)
        a:totable()
      else
        assert.equal("string", type(a))
      end
    end
  end)

  it("is complete or not there", function()
    local path = temporary()
    local a = counted("f64", 1000)
    a:save(path)
    local mapped = tm.load(path, { mmap = true })
    counted("u8", 2):save(path)
    assert.equal(500500, mapped:sum()) -- the old file, as long as it is held
    assert.equal(3, tm.load(path):sum())
    local ok, err = pcall(a.save, a, path .. "/nowhere")
    assert.is_false(ok)
    assert.matches("cannot write", err)
    a:save "/dev/null"
  end)

  it("that cannot be read is an error of the caller's", function()
    local function has(pattern, f, ...)
      local ok, err = pcall(f, ...)
      assert.is_false(ok)
      assert.matches(pattern, err)
    end
    has("^spec/npy_spec.lua:%d+: cannot read /nowhere/x.npy", function()
      return (tm.load "/nowhere/x.npy")
    end)
    has("cannot read", tm.load, "/")
    has("path expected, got nil", tm.load)
    has("did you mean 'mmap'", tm.load, "x", { map = true })
    has("true or false", tm.load, "x", { mmap = 1 })
    has("table expected", tm.load, "x", true)
  end)

  describe("that is mapped", function()
    it("is read-only, rows and views too", function()
      local path = temporary()
      counted("f64", 2, 2):save(path)
      local a = tm.load(path, { mmap = true })
      for _, f in ipairs {
        function() a[1][1] = 2 end, function() a:set(1, 1, 2) end,
        function() a:fill(0) end, function() a:add(1) end,
        function() a[1] = a[2] end, function() a:view(1, 1):scale(2) end,
        function() a:reshape(4)[1] = 2 end,
      } do
        local ok, err = pcall(f)
        assert.is_false(ok)
        assert.matches("read%-only", err)
      end
      local b = a:copy()
      b[1][1] = 5
      assert.equal(5, b[1][1])
      assert.equal(1, a[1][1])
    end)

    it("is one mapping for all workers, for as long as it is used", function()
      local path = temporary()
      counted("f64", 100, 10):save(path)
      local pool <close> = pools.new "thread"
      local a = tm.load(path, { mmap = true })
      local b = tm.load(path, { mmap = true })
      assert.is_true(a:sum() == b:sum())
      assert.is_false(a == b) -- two loads, two arrays
      local sums = pool:map(function(row) return row:sum() end, a)
      assert.equal(55, sums[1])
      assert.equal(9955, sums[100])
      local same, readonly = pool:apply(function(x)
        return x, x.readonly
      end, { a })
      assert.is_true(same == a and readonly)
      local row = a[7]
      a, b, same = nil, nil, nil -- luacheck: ignore
      pools.collect()
      assert.equal(655, row:sum())
    end)

    it("is not mistaken for another that took its name", function()
      local path = temporary()
      counted("u8", 10):save(path)
      local function store()
        return tm.glob_store { tm.load(path, { mmap = true }) }
      end
      local function sum_of(key) return tm.glob_read(key)[1]:sum() end
      local pool = pools.new "thread"
      local key = pool:apply(store)
      pools.stop(pool) -- and with its workers the mapping
      counted("u8", 11):save(path)
      local ok, err = pcall(sum_of, key)
      assert.is_false(ok)
      assert.matches("has changed since it was mapped", err)
    end)
  end)

  local python = find_numpy()
  local check = python and it or pending

  check("is what NumPy writes and reads", function()
    local folder = temporary()
    os.remove(folder)
    local out = run_python(python, [[
import sys
import numpy as np
folder = sys.argv[1]
for name, t in [("f64", "f8"), ("f32", "f4"), ("i64", "i8"), ("i32", "i4"),
                ("u8", "u1"), ("c128", "c16")]:
    a = (np.arange(24) % 100).astype(t).reshape(2, 3, 4)
    if name == "c128":
        a = a + 1j * a[::-1]
    np.save(folder + name + ".npy", a)
    np.save(folder + name + ".fortran.npy", np.asfortranarray(a))
    with open(folder + name + ".v2.npy", "wb") as f:
        np.lib.format.write_array(f, a, version=(2, 0))
]], folder)
    assert.equal("", out)
    for dtype in pairs(DTYPES) do
      local a = tm.load(folder .. dtype .. ".npy")
      paths[#paths + 1] = folder .. dtype .. ".npy"
      assert.same({ 2, 3, 4 }, a.shape)
      assert.equal(dtype, a.dtype)
      assert.equal(23, (a:get(2, 3, 4)))
      assert.equal(4, (a:get(1, 2, 1)))
      for _, kind in ipairs { "fortran", "v2" } do
        local other = folder .. dtype .. "." .. kind .. ".npy"
        paths[#paths + 1] = other
        assert.same(a:totable(), tm.load(other):totable())
      end
      a:save(folder .. dtype .. ".ours.npy")
      paths[#paths + 1] = folder .. dtype .. ".ours.npy"
    end
    out = run_python(python, [[
import sys
import numpy as np
folder = sys.argv[1]
for name in ["f64", "f32", "i64", "i32", "u8", "c128"]:
    a = np.load(folder + name + ".npy")
    b = np.load(folder + name + ".ours.npy")
    assert a.dtype == b.dtype and a.shape == b.shape and (a == b).all(), name
    assert b.flags.c_contiguous
print("all the same")
]], folder)
    assert.equal("all the same\n", out)
  end)
end)
