-- The command, beside lua5.4: what one says, writes and ends with, the other
-- must too, but for its name.

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function current_directory()
  local pipe = assert(io.popen("pwd"))
  local path = pipe:read("l")
  pipe:close()
  return path
end

local LUA = "lua5.4"
local TIDEMILL = os.getenv("TIDEMILL")
  or current_directory() .. "/build/tidemill"

-- Whatever the shell that runs the tests has set must not be seen by them.
local CLEAN = "env"
for _, name in ipairs { "CONFIG", "THREADS", "PROCESSES", "LOG_LEVEL" } do
  CLEAN = CLEAN .. " -u TIDEMILL_" .. name
end
for _, name in ipairs { "LUA_INIT", "LUA_INIT_5_4", "LUA_PATH", "LUA_PATH_5_4",
                        "OMP_NUM_THREADS", "MKL_NUM_THREADS" } do
  CLEAN = CLEAN .. " -u " .. name
end

-- A directory for each test, with one below it that programs are run in.
local directory, work

before_each(function()
  directory = os.tmpname()
  os.remove(directory)
  work = directory .. "/work"
  assert(os.execute("mkdir -p " .. quote(work)))
end)

after_each(function()
  os.execute("rm -rf " .. quote(directory))
end)

---@class outcome
---@field out string
---@field err string
---@field status integer

-- Runs a program with the arguments of the list `given`; given.stdin is what
-- it reads, given.env a list of "NAME=value".
---@return outcome
local function run(program, given)
  local words = { CLEAN }
  for _, setting in ipairs(given.env or {}) do
    words[#words + 1] = quote(setting)
  end
  words[#words + 1] = quote(program)
  for _, word in ipairs(given) do words[#words + 1] = quote(word) end
  local base = directory .. "/std"
  write(base .. "in", given.stdin or "")
  local _, _, status = os.execute(("cd %s && %s <%s >%s 2>%s"):format(
    quote(work), table.concat(words, " "), quote(base .. "in"),
    quote(base .. "out"), quote(base .. "err")))
  return { out = read(base .. "out"), err = read(base .. "err"),
           status = status }
end

local function tidemill(given)
  return run(TIDEMILL, given)
end

-- Takes a program's name out of what it wrote.
local function nameless(text, program, name)
  text = ("\n" .. text):gsub("\n" .. name:gsub("%p", "%%%0") .. ": ",
                             "\nNAME: ")
  return (text:sub(2):gsub(program:gsub("%p", "%%%0"), "NAME"))
end

-- Runs both and compares. Answers what tidemill did.
---@return outcome
local function same(given)
  local theirs, ours = run(LUA, given), run(TIDEMILL, given)
  assert.equal(nameless(theirs.out, LUA, LUA),
    nameless(ours.out, TIDEMILL, "tidemill"))
  assert.equal(nameless(theirs.err, LUA, LUA),
    nameless(ours.err, TIDEMILL, "tidemill"))
  assert.equal(theirs.status, ours.status)
  return ours
end

local function script(name, text)
  write(work .. "/" .. name, text)
end

local SHOW_ARG = [[
for i = -9, 9 do if arg[i] then print(i, arg[i]) end end
print(select("#", ...), ...)
]]

describe("like lua5.4, tidemill", function()
  it("hands a script its arguments", function()
    script("show.lua", SHOW_ARG)
    same { "show.lua" }
    same { "show.lua", "a", "", "b c", "-x", "--" }
    local ours = same { "-W", "-e", "x = 1", "--", "show.lua", "-e", "y" }
    assert.matches("\n0\tshow.lua\n1\t%-e\n2\ty\n2\t%-e\ty\n$", ours.out)
  end)

  it("hands stdin and statements theirs", function()
    same { stdin = SHOW_ARG }
    same { "-", "a", "b", stdin = SHOW_ARG }
    same { "-e", "print(arg[0] ~= nil, arg[1], arg[2] ~= nil, ...)" }
  end)

  it("passes on what is in arg when the script starts", function()
    same { "-e", "arg = { 'x', 'y' }", "-", "a",
           stdin = "print(...)" }
    same { "-e", "arg = 1", "-", stdin = "print(...)" }
  end)

  it("ends with the script's status", function()
    assert.equal(0, same { "-e", "x = 1" }.status)
    assert.equal(1, same { "-e", "error 'x'" }.status)
    assert.equal(7, same { "-e", "os.exit(7)" }.status)
    assert.equal(7, same { "-e", "os.exit(7, true)" }.status)
    assert.equal(1, same { "-e", "os.exit(false)" }.status)
    assert.equal(0, same { "-e", "return false" }.status)
  end)

  it("shows where an error came from", function()
    script("fail.lua", [[
local function inner() error("no good") end
function Outer() inner() end
local function last() return Outer() end
last()]])
    local ours = same { "fail.lua" }
    assert.matches("^tidemill: fail%.lua:1: no good\nstack traceback:\n",
      ours.err)
    same { "-e", "local t = nil; t.x = 1" }
    same { "-e", "string.rep()" }
    same { "-e", "require 'surely.absent'" }
    same { "-e", "coroutine.wrap(function() error 'x' end)()" }
  end)

  it("shows errors that are no strings", function()
    same { "-e", "error()" }
    same { "-e", "error({})" }
    same { "-e", "error(12)" }
    same { "-e", "error('x', 0)" }
    local shown = "{__tostring = function() return 'shown' end}"
    local ours = same { "-e", "error(setmetatable({}, " .. shown .. "))" }
    assert.equal("tidemill: shown\n", ours.err)
    local odd = "{__tostring = function() return {} end}"
    same { "-e", "error(setmetatable({}, " .. odd .. "))" }
  end)

  it("survives an error without end", function()
    local ours = tidemill { "-e", "local function f() return 1 + f() end f()" }
    assert.matches("stack overflow", ours.err)
    assert.matches("%[C%]: in %?\n$", ours.err)
    assert.equal(1, ours.status)
  end)

  it("shows what does not compile, and what is no file", function()
    script("broken.lua", "x = = 1")
    same { "broken.lua" }
    same { "-e", "x =" }
    same { "-", stdin = "x = = 1" }
    same { "absent.lua" }
    same { "." }
    same { "--", "-absent" }
  end)

  it("runs -e and -l in order, and stops at the first fault", function()
    script("mod.lua", "print 'mod' return { v = 5 }")
    same { "-e", "x = 1", "-lmod", "-e", "print(x, mod.v)" }
    same { "-l", "m=mod", "-em=m.v print(m)" }
    same { "-e", "error 'x'", "-e", "print 'not reached'" }
    local _, count = same { "-l", "absent", "-e", "print(1)" }.err
      :gsub("in function 'require'", "")
    assert.equal(1, count)
  end)

  it("honours LUA_INIT, but not with -E", function()
    same { "-e", "print(x)", env = { "LUA_INIT=x = 3" } }
    same { "-e", "print(x)",
           env = { "LUA_INIT=x = 3", "LUA_INIT_5_4=x = 4" } }
    same { "-E", "-e", "print(x)", env = { "LUA_INIT=x = 3" } }
    same { "-e", "print(x)", env = { "LUA_INIT=error 'in init'" } }
    script("init.lua", "x = 'from a file'")
    same { "-e", "print(x)", env = { "LUA_INIT=@init.lua" } }
    same { "-e", "print(x)", env = { "LUA_INIT=@absent.lua" } }
  end)

  it("honours LUA_PATH, but not with -E", function()
    script("mod.lua", "return 1")
    local set = { "LUA_PATH=./?.xyz" }
    same { "-e", "print(package.path)", env = set }
    same { "-E", "-e", "print(package.path)", env = set }
    same { "-e", "print(package.path)" }
  end)

  it("turns warnings on with -W alone", function()
    same { "-e", "warn 'quiet'" }
    assert.matches("loud", same { "-W", "-e", "warn 'loud'" }.err)
  end)

  it("collects garbage in the same mode", function()
    same { "-e", "print(collectgarbage 'incremental')" }
  end)

  it("closes what was to be closed, and runs finalisers", function()
    same { "-e", "setmetatable({}, {__gc = function() print 'gc' end})" }
    same { "-e", "local x <close> = setmetatable({}, "
      .. "{__close = function() print 'closed' end}) error 'x'" }
  end)

  it("runs code from a file that starts as scripts do", function()
    script("run.lua", "#!/usr/bin/env lua\nprint(debug.traceback 'here')")
    local ours = tidemill { "run.lua" }
    assert.matches("^here\nstack traceback:\n\trun%.lua:2: in main chunk\n",
      ours.out)
  end)
end)

-- lua5.4 ends with 0 here; a driver that is piped in must not fail unseen.
describe("unlike lua5.4, tidemill", function()
  it("fails when a script on stdin does, even without '-'", function()
    local ours = tidemill { stdin = "error 'no good'" }
    assert.matches("^tidemill: stdin:1: no good\n", ours.err)
    assert.equal(1, ours.status)
  end)
end)

describe("the options", function()
  it("refuse what they do not know, with the usage", function()
    for _, given in ipairs { { "-x" }, { "-e" }, { "-l" }, { "-vx" },
                             { "-e", "-v" }, { "-E-" } } do
      local theirs, ours = run(LUA, given), tidemill(given)
      assert.equal(nameless(theirs.err:match("^[^\n]*"), LUA, LUA),
        nameless(ours.err:match("^[^\n]*"), TIDEMILL, "tidemill"))
      assert.matches("\nusage: tidemill ", ours.err)
      assert.equal("", ours.out)
      assert.equal(1, ours.status)
    end
  end)

  it("name the nearest of a long one", function()
    assert.matches("^tidemill: unrecognized option '%-%-hlep' "
      .. "%(did you mean '%-%-help'%?%)\n", tidemill { "--hlep" }.err)
  end)

  it("know --help and --version", function()
    local help = tidemill { "--help" }
    assert.matches("^usage: tidemill ", help.out)
    assert.matches("tidemill info", help.out)
    assert.equal("", help.err)
    assert.equal(0, help.status)
    local version = tidemill { "--version" }
    assert.matches("^tidemill %d+%.%d+%.%d+ %(Lua 5%.4[%d.]*%)\n$",
      version.out)
    assert.equal(0, version.status)
    assert.equal(version.out, tidemill { "-v" }.out)
    assert.equal(version.out .. "1\n", tidemill { "-v", "-e",
                                                  "print(1)" }.out)
  end)
end)

describe("an interactive session", function()
  local function session(text, ...)
    return tidemill { "-i", ..., stdin = text }
  end

  it("prints what an expression is, after each prompt", function()
    local ours = session("1, nil, 'x'\n=2\ny = 3\ny\n")
    assert.matches("^tidemill %S+ %b()\n> 1\tnil\tx\n> 2\n> > 3\n> \n$",
      ours.out)
    assert.equal(0, ours.status)
  end)

  it("reads on until a statement is whole", function()
    assert.matches("\n> >> >> 1\n2\n> \n$",
      session("for i = 1, 2 do\nprint(i)\nend\n").out)
  end)

  it("goes on after an error", function()
    local ours = session("error 'oops'\nx = = 1\nerror({})\n4\n")
    assert.matches("^stdin:1: oops\nstack traceback:\n", ours.err)
    assert.matches("\nstdin:1: unexpected symbol near '='\n", ours.err)
    assert.matches("\n%(error object is a table value%)\n", ours.err)
    assert.matches("> 4\n> \n$", ours.out)
    assert.equal(0, ours.status)
  end)

  it("follows the script, and takes its prompts from it", function()
    script("before.lua", "_PROMPT, _PROMPT2, z = 'in>', 'on>', 6")
    assert.matches("\nin>on>6\nin>\n$",
      session("print(\nz)\n", "before.lua").out)
  end)

  it("says that print fails", function()
    assert.matches("^error calling 'print' %(", session("print = 1\n2\n").err)
  end)
end)

describe("a config", function()
  it("with a fault stops all before anything runs", function()
    write(directory .. "/config.lua", "return { thread = 2 }")
    write(directory .. "/driver.lua", "print 'ran'")
    local ours = tidemill { "-e", "print 'ran'", "../driver.lua" }
    assert.equal("", ours.out)
    assert.equal("tidemill: ../config.lua: unknown key 'thread' "
      .. "(did you mean 'threads'?)\n", ours.err)
    assert.equal(1, ours.status)
  end)

  it("that is somebody else's does not stop a script", function()
    script("config.lua", "return { title = os.getenv('HOME') }")
    write(directory .. "/driver.lua", "print 'ran'")
    local ours = tidemill { "../driver.lua" }
    assert.equal("ran\n", ours.out)
    assert.equal(0, ours.status)
  end)

  it("named by TIDEMILL_CONFIG must exist, but not with -E", function()
    local set = { "TIDEMILL_CONFIG=absent.lua" }
    local ours = tidemill { "-e", "print 'ran'", env = set }
    assert.equal("tidemill: TIDEMILL_CONFIG names a file that does not "
      .. "exist: absent.lua\n", ours.err)
    assert.equal(1, ours.status)
    assert.equal("ran\n",
      tidemill { "-E", "-e", "print 'ran'", env = set }.out)
  end)

  it("holds C libraries to its threads, from the start", function()
    local show = "print(os.getenv 'OMP_NUM_THREADS', "
      .. "os.getenv 'MKL_NUM_THREADS')"
    assert.equal("1\t1\n", tidemill { "-e", show }.out)
    assert.equal("5\t1\n",
      tidemill { "-e", show, env = { "OMP_NUM_THREADS=5" } }.out)
    script("config.lua", "return { cext_threads = 3 }")
    assert.equal("3\t3\n", tidemill { "-e", show }.out)
    assert.equal("3\t3\n", tidemill {
      "-e", "x = 1", env = { "LUA_INIT=" .. show } }.out)
  end)
end)

describe("tidemill info", function()
  local function setting_line(text, name)
    return text:match("\n  (" .. name .. " [^\n]*)\n")
  end

  it("shows CPUs, arena, versions and settings", function()
    local ours = tidemill { "info" }
    assert.equal("", ours.err)
    assert.equal(0, ours.status)
    assert.matches("^tidemill %d+%.%d+%.%d+ %(Lua 5%.4[%d.]*%)\n", ours.out)
    assert.matches("\nCPUs: %d+ usable: %S[^\n]*\n", ours.out)
    assert.matches("\narena: [%d.]+ %a+ reserved, [%d.]+ %a+ used\n",
      ours.out)
    assert.matches("\nconfig: no file\n", ours.out)
    assert.matches('^threads +"auto" %(%d+%) +default$',
      setting_line(ours.out, "threads"))
    assert.matches("^max_tasks_per_child +nil +default$",
      setting_line(ours.out, "max_tasks_per_child"))
    assert.matches("\n  OMP_NUM_THREADS +1\n", ours.out)
  end)

  it("says where each setting came from", function()
    script("config.lua", "return { threads = 3, processes = 2 }")
    local given = { "info", env = { "TIDEMILL_THREADS=5" } }
    local ours = tidemill(given)
    assert.matches("\nconfig: config%.lua\n", ours.out)
    assert.matches("^threads +5 +environment: TIDEMILL_THREADS$",
      setting_line(ours.out, "threads"))
    assert.matches("^processes +2 +config%.lua: config%.lua$",
      setting_line(ours.out, "processes"))
    table.insert(given, 1, "-E")
    assert.matches("^threads +3 +config%.lua: config%.lua$",
      setting_line(tidemill(given).out, "threads"))
  end)

  it("shows what a script would have", function()
    write(directory .. "/config.lua", "return { threads = 9 }")
    local ours = tidemill { "info", "../driver.lua" }
    assert.matches("\nconfig: %.%./config%.lua\n", ours.out)
    assert.matches("^threads +9 ", setting_line(ours.out, "threads"))
  end)

  it("tells of a file that is ignored", function()
    script("config.lua", "return { title = 1 }")
    local ours = tidemill { "info" }
    assert.matches("\n  ignored in the working directory: config%.lua has no "
      .. "key of tidemill's\n", ours.out)
  end)

  it("leaves a script of that name within reach", function()
    script("info", "print('a script', ...)")
    assert.equal("a script\tx\n", tidemill { "./info", "x" }.out)
    assert.equal("a script\tx\n", tidemill { "--", "info", "x" }.out)
    assert.matches("^tidemill %d", tidemill { "info" }.out)
  end)
end)
