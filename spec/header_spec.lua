-- include/tidemill.h: it compiles as what it says it is, the library exports
-- what it declares and nothing else, and every function is described.

require "tidemill"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read("a")
  return text, pipe:close()
end

local function installed(program)
  return os.execute("command -v " .. program .. " >/dev/null 2>&1")
end

local HEADER = read("include/tidemill.h")
local WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"

-- Every inline function is used, and a table of kernels in its short form.
local PROGRAM = [[
#include <tidemill.h>
static int f(const tm_call *c, const tm_arg *a) {
  return c->cancelled(c) ? c->fail(c, c->first, "%d", a[0].rank) : 0;
}
static const tm_kernel k[] = {TM_RANGE(f, "f64[#] x"), TM_ITEM(f, "")};
int main(void) {
  tm_config c;
  tm_pool_options p;
  tm_run_options r;
  tm_value v[9];
  tm_config_init(&c);
  tm_pool_options_init(&p);
  tm_run_options_init(&r);
  v[0] = tm_nil();
  v[1] = tm_boolean(1);
  v[2] = tm_integer(1);
  v[3] = tm_number(1.5);
  v[4] = tm_string("x");
  v[5] = tm_bytes("x", 1);
  v[6] = tm_array_value(NULL);
  v[7] = tm_key_value(0);
  r.timeout = TM_FOREVER;
  return v[2].as.integer == 1 && k[1].kind == TM_KIND_ITEM ? 0 : 1;
}
]]

local function compiles(compiler, standard, language)
  local pipe = assert(io.popen(("%s -x %s -std=%s %s -Iinclude -fsyntax-only -")
    :format(compiler, language, standard, WARNINGS), "w"))
  pipe:write(PROGRAM)
  return pipe:close()
end

describe("the header", function()
  for _, case in ipairs {
    { "c", { "gcc", "clang" }, { "c99", "c11", "c17" } },
    { "c++", { "g++", "clang++" }, { "c++11", "c++17", "c++20" } },
  } do
    local language, compilers, standards = table.unpack(case)
    for _, compiler in ipairs(compilers) do
      it("compiles without warnings: " .. compiler, function()
        if not installed(compiler) then
          return pending(compiler .. " is not installed")
        end
        for _, standard in ipairs(standards) do
          assert.truthy(compiles(compiler, standard, language), standard)
        end
      end)
    end
  end

  local declared = {}
  for name in HEADER:gmatch("\nTM_API[^;(]-([%w_]+)%(") do
    declared[#declared + 1] = name
  end
  table.sort(declared)

  it("declares what the library exports", function()
    local command = os.getenv("TIDEMILL") or "build/tidemill"
    local library = command:match("^(.*)/") .. "/libtidemill.so"
    local file = io.open(library)
    if not file then return pending("there is no " .. library) end
    file:close()
    local exported = {}
    for name in output_of("nm -D --defined-only " .. library)
        :gmatch(" [B-Z] ([%w_]+)") do -- A is the name of the version
      exported[#exported + 1] = name
    end
    table.sort(exported)
    assert.is_true(#declared > 60)
    assert.same(declared, exported)
  end)

  -- A comment may stand for several declarations that follow it directly.
  it("describes each function", function()
    local described, missing = false, {}
    for block in (HEADER .. "\n\n"):gmatch("(.-)\n\n+") do
      local comment = block:find("/*", 1, true)
      local name = ("\n" .. block):match("\nTM_API[^;(]-([%w_]+)%(")
      if name and not comment then missing[#missing + 1] = name end
      described = described or comment ~= nil
    end
    assert.is_true(described)
    assert.same({}, missing)
  end)
end)
