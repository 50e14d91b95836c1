-- tm.compile: the cache, its keys, processes that compile at once, and what
-- is said of C text that does not compile.

local tm = require "tidemill"
local child = require "spec.support.child"
local kernels = require "spec.support.kernels"

local function text(value, name)
  return ([[
static int %s(const tm_call *c, const tm_arg *a) {
  for (int64_t i = c->first; i < c->last; i++) a[0].i64[i] = %s;
  return 0;
}
TM_KERNELS(TM_RANGE(%s, "i64[#] x"));
]]):format(name or "fill", value, name or "fill")
end

local function run(kernel)
  local x = tm.array("i64", 3)
  kernel(3, x)
  return x:sum()
end

local function message(...)
  local ok, err = pcall(tm.compile, ...)
  assert.is_false(ok)
  return err
end

local function has(found, pattern)
  assert.is_truthy(found:find(pattern, 1, true), found)
end

describe("compile", function()
  before_each(kernels.begin)
  after_each(kernels.finish)

  it("gives the kernels by name, or the one that was asked for", function()
    assert.equal(21, run(tm.compile(text "7").fill))
    assert.equal(24, run(tm.compile(text "8", { name = "fill" })))
    has(message(text "8", { name = "fil" }), "no kernel 'fil'")
  end)

  it("compiles once", function()
    local first = tm.compile(text "1").fill
    local files = kernels.files "."
    assert.equal(2, #files) -- the library, and the header
    assert.equal(first, tm.compile(text "1").fill)
    assert.same(files, kernels.files ".")
  end)

  it("compiles anew when text, flags or libraries differ", function()
    tm.compile(text "1")
    assert.equal(6, run(tm.compile(text "2").fill))
    assert.equal(2, #kernels.files "%.so$")
    tm.compile(text "1", { libs = "m" })
    tm.compile(text "1", { libs = { "-lm" }, cflags = "-Wall" })
    assert.equal(4, #kernels.files "%.so$")
  end)

  it("passes flags and libraries on", function()
    local fill = tm.compile(text "VALUE", { cflags = "-DVALUE=11" }).fill
    assert.equal(33, run(fill))
    fill = tm.compile(text "VALUE", { cflags = { "-DVALUE=(1 + 1)" } }).fill
    assert.equal(6, run(fill))
    fill = tm.compile("#include <math.h>\n" .. text "(int64_t)cos(0.0 * i)",
      { libs = "m" }).fill
    assert.equal(3, run(fill))
  end)

  it("makes a file that does not load anew", function()
    local script = "local tm = require 'tidemill'\n"
      .. "print(tm.compile([==[" .. text "5" .. "]==]).fill)"
    local cache = { "XDG_CACHE_HOME=" .. os.getenv "XDG_CACHE_HOME" }
    assert.equal(0, child.run(script, { env = cache }).status)
    local path = kernels.files "%.so$"[1]
    local file = assert(io.open(path, "wb"))
    file:write "half a lib"
    file:close()
    local again = child.run(script, { env = cache })
    assert.equal(0, again.status)
    assert.equal("", again.err)
  end)

  it("is safe when processes compile at once", function()
    local script = "local tm = require 'tidemill'\nlocal source = [==["
      .. text "9" .. "]==]\n" .. [[
      if arg[1] then
        local x = tm.array("i64", 2)
        tm.compile(source).fill(2, x)
        print(x:sum())
      else
        local line = ("%s main.lua child & "):format(
          os.getenv "TIDEMILL_SELF")
        os.execute(line:rep(4) .. "wait")
      end]]
    local outcome = child.run(script, { env = {
      "XDG_CACHE_HOME=" .. os.getenv "XDG_CACHE_HOME",
      "TIDEMILL_SELF=" .. child.command } })
    assert.equal("18\n18\n18\n18\n", outcome.out)
    assert.equal("", outcome.err)
    assert.equal(1, #kernels.files "%.so$")
    assert.equal(2, #kernels.files ".")
  end)

  it("works without a folder to keep things in", function()
    local script = "local tm = require 'tidemill'\n"
      .. "local k = tm.compile([==[" .. text "5" .. "]==])\n"
      .. "local x = tm.array('i64', 2)\n"
      .. "tm.thread_pool():run(k.fill, 2, x)\nprint(x:sum())"
    local outcome = child.run(script, { env = {
      "XDG_CACHE_HOME=/proc/none", "TMPDIR=." } })
    assert.equal("10\n", outcome.out)
  end)

  it("leaves nothing of what failed", function()
    message(text "oops")
    assert.same({}, kernels.files "fill")
    assert.equal(1, #kernels.files ".") -- the header
  end)
end)

describe("compile's errors", function()
  before_each(kernels.begin)
  after_each(kernels.finish)

  it("name the script's own lines", function()
    local outcome = child.run([==[
local tm = require "tidemill"
local options = { cflags = "-Wall" }
local k = tm.compile([[
static int f(const tm_call *c, const tm_arg *a) {
  return oops;
}
TM_KERNELS(TM_RANGE(f, ""));
]], options)
]==])
    assert.equal(1, outcome.status)
    has(outcome.err, "main.lua:3: compile: ")
    has(outcome.err, "main.lua:5:")
    has(outcome.err, "oops")
  end)

  it("name the lines of a text that stands elsewhere", function()
    local outcome = child.run([==[
local source <const> = [[
static int f(const tm_call *c, const tm_arg *a) {
  return oops;
}
TM_KERNELS(TM_RANGE(f, ""));
]]
local function late() return require("tidemill").compile(source).f end

late()
]==])
    has(outcome.err, "main.lua:3:")
  end)

  it("name the lines of a chunk that is no file", function()
    local f = assert(load([==[
local tm = ...
local k = tm.compile [[
static int f(const tm_call *c, const tm_arg *a) {
  return oops;
}
TM_KERNELS(TM_RANGE(f, ""));
]]]==]))
    local ok, err = pcall(f, tm)
    assert.is_false(ok)
    has(err, [=[..."]:4:]=])
    has(err, "oops")
  end)

  it("count the text's own lines where the script's are not known", function()
    local source <const> = "\n" .. text "oops"
    local function tail() return tm.compile(source) end
    local ok, err = pcall(tail)
    assert.is_false(ok)
    has(err, "C text:3:")
  end)

  it("say what is wrong with a table of kernels", function()
    has(message "int x;", "no table of kernels (TM_KERNELS")
    has(message((text "1":gsub("i64%[#%]", "i65[#]"))),
      "kernel 'fill': signature \"i65[#] x\": a type (f64, f32, i64, i32, "
      .. "u8 or c128) expected, got 'i65[#] x' (column 1)")
    has(message((text "1":gsub('"%)%);', '"), TM_ITEM(fill, ""));'))),
      "two of this name")
    has(message((text "1":gsub('"%)%);', '", "prod f64"));'))),
      'reduce must be like "sum f64"')
  end)

  it("say what is wrong with the options", function()
    has(message(text "1", { cflag = "" }), "did you mean 'cflags'?")
    has(message(text "1", { libs = 1 }), "'libs' must be a string or a list")
    has(message(text "1", { libs = { 1 } }), "item 1 is a number")
    has(message(1), "bad argument #1 to 'compile' (string expected")
    has(message(text "1", 1), "bad argument #2 to 'compile'")
  end)

  it("say that there is no compiler", function()
    local outcome = child.run("local tm = require 'tidemill'\n"
      .. "tm.compile 'TM_KERNELS()'", { env = { "CC=no-such-compiler" } })
    has(outcome.err, "the compiler that CC names does not run: "
      .. "no-such-compiler")
    outcome = child.run("local tm = require 'tidemill'\n"
      .. "tm.compile 'TM_KERNELS()'", { env = { "CC=", "PATH=/none" },
      prefix = "" })
    assert.not_equal(0, outcome.status)
  end)
end)
