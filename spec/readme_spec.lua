-- Every program in README.md, run as a reader would: each by the command, in
-- a directory of its own. What it prints must be what its `-->` comments say,
-- all of it. Comments before a block:
--   <!-- needs: module -->  it is skipped where that module is missing
--   <!-- config -->         it is a config.lua, beside a script

require "tidemill"
local config = require "tidemill.config"

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

local HERE = current_directory()
local TIDEMILL = os.getenv("TIDEMILL") or HERE .. "/build/tidemill"
local BUILD = TIDEMILL:match("^(.*)/")

-- Settings of whoever runs the tests are not the reader's.
local CLEAN = "env -u TIDEMILL_CONFIG"
for _, setting in ipairs(config.keys) do
  CLEAN = CLEAN .. " -u " .. setting.env
end

---@class block
---@field language string
---@field line integer of its first line in the file
---@field mark? string of the comment before it
---@field text string

---@return block[]
local function read_blocks(path)
  local blocks, block, mark = {}, nil, nil
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    local language = line:match("^```(%l+)$")
    if block and line == "```" then
      block.text = table.concat(block, "\n") .. "\n"
      blocks[#blocks + 1], block, mark = block, nil, nil
    elseif block then
      block[#block + 1] = line
    elseif language then
      block = { language = language, line = number + 1, mark = mark }
    else
      mark = line:match("^<!%-%- (.-) %-%->$")
    end
  end
  assert(not block, "a block has no end")
  return blocks
end

-- What the comments of a program say that it prints.
local function promised(text)
  local lines = {}
  for said in text:gmatch("%-%-> ([^\n]*)") do
    lines[#lines + 1] = said .. "\n"
  end
  return table.concat(lines)
end

local function blocks_of(language)
  local found = {}
  for _, block in ipairs(read_blocks("README.md")) do
    if block.language == language then found[#found + 1] = block end
  end
  return found
end

describe("README.md", function()
  local directory

  before_each(function()
    directory = os.tmpname()
    os.remove(directory)
    assert(os.execute("mkdir " .. quote(directory)))
  end)

  after_each(function()
    os.execute("rm -rf " .. quote(directory))
  end)

  -- Runs a command in the directory. Answers its output and exit status.
  local function run(command)
    local line = ("cd %s && %s >out 2>err </dev/null"):format(
      quote(directory), command)
    local _, how, status = os.execute(line)
    local err = read(directory .. "/err")
    return read(directory .. "/out"), how .. " " .. status .. "\n" .. err
  end

  local function run_driver()
    return run(CLEAN .. " " .. quote(TIDEMILL) .. " driver.lua")
  end

  local function check_program(block)
    write(directory .. "/driver.lua", block.text)
    local out, status = run_driver()
    assert.equal("exit 0", status:match("^[^\n]*"), status)
    assert.equal(promised(block.text), out)
  end

  -- A config that is read at all gives each of its settings.
  local function check_config(block)
    write(directory .. "/config.lua", block.text)
    local out, status = run(CLEAN .. " " .. quote(TIDEMILL) ..
                            " info driver.lua")
    assert.equal("exit 0", status:match("^[^\n]*"), status)
    for _, setting in ipairs(config.keys) do
      assert.truthy(out:find("  " .. setting.name .. " [^\n]*config%.lua"),
                    setting.name .. " is not set:\n" .. out)
    end
    write(directory .. "/driver.lua", 'require "tidemill".thread_pool()')
    out, status = run_driver()
    assert.equal("exit 0\n", status .. out)
  end

  local function check(block)
    local needed = block.mark and block.mark:match("^needs: (.+)$")
    if needed and not pcall(require, needed) then
      pending(needed .. " is missing")
    elseif block.mark == "config" then
      check_config(block)
    else
      assert.truthy(needed or not block.mark, "unknown mark " ..
                    tostring(block.mark))
      check_program(block)
    end
  end

  -- Where worker processes cannot be forked, nothing is inherited.
  local spawns = os.getenv "TIDEMILL_SPEC_START" == "spawn"

  for _, block in ipairs(blocks_of "lua") do
    local inherits = block.text:find "process_pool%(true%)"
    local check_it = spawns and inherits and pending or it
    check_it("has a program that does what it says in line " .. block.line,
      function() check(block) end)
  end

  it("has its first program by line 10", function()
    assert.is_true(blocks_of("lua")[1].line <= 10)
  end)

  it("names only targets that the Makefile has", function()
    local makefile, readme = read("Makefile"), read("README.md")
    local count = 0
    local function check_target(target)
      count = count + 1
      assert.truthy(makefile:find("\n" .. target .. ":", 1, true), target)
    end
    for target in readme:gmatch("`make (%l+)`") do check_target(target) end
    for target in readme:gmatch("\nmake (%l+)") do check_target(target) end
    assert.is_true(count >= 2)
  end)

  it("names only files that there are", function()
    for path in read("README.md"):gmatch("`([%w_/]+/[%w_./]*)`") do
      if not path:find("^build/") then
        local name = path:gsub("/$", "")
        assert.truthy(os.rename(name, name), path .. " does not exist")
      end
    end
  end)

  it("links to headings that it has", function()
    local text = read("README.md")
    local anchors = {}
    for heading in text:gmatch("\n## ([^\n]+)") do
      local anchor = heading:lower():gsub("[^%w_ -]", ""):gsub(" ", "-")
      anchors[anchor] = true
    end
    for anchor in text:gmatch("%]%(#([^)]+)%)") do
      assert.truthy(anchors[anchor], "no heading for #" .. anchor)
    end
  end)

  it("has a host program that runs", function()
    local sanitized = BUILD:find("/[at]san$")
    local cflags = os.getenv("LUA_CFLAGS") or "$(pkg-config --cflags lua5.4)"
    local libs = os.getenv("LUA_LIBS") or "$(pkg-config --libs lua5.4)"
    local blocks = blocks_of "c"
    assert.equal(1, #blocks)
    write(directory .. "/host.c", blocks[1].text)
    local compile = ("cc -Werror -Wall -I%s/include %s %%s host.c"):format(
      quote(HERE), cflags)
    if sanitized then
      local _, status = run(compile:format("-fsyntax-only"))
      assert.equal("exit 0\n", status)
      return
    end
    local _, status = run((compile .. " %s/libtidemill.a %s -lm -pthread")
      :format("-o host", quote(BUILD), libs))
    assert.equal("exit 0\n", status)
    write(directory .. "/host.lua", 'local tm = require "tidemill"\n'
      .. 'local name, n = ...\nlocal f = math.sqrt\n'
      .. 'return name .. #tm.thread_pool():map(f, tm.range(tonumber(n)))')
    local out
    out, status = run("./host host.lua results: 100")
    assert.equal("exit 0\n", status)
    assert.equal("results:100\n", out)
  end)
end)
