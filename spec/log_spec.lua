-- The log: levels, whole lines, indents, files.

local tm = require "tidemill"
local pools = require "spec.support.pools"
local faults = require "spec.support.faults"
local child = require "spec.support.child"

local path, level

before_each(function()
  path = os.tmpname()
  level = tm.set_level "TODO"
  tm.start_log_file(path)
end)

after_each(function()
  tm.start_log_file(nil)
  tm.set_level(level)
  os.remove(path)
end)

local function lines()
  local list = {}
  for line in io.lines(path) do list[#list + 1] = line end
  return list
end

describe("log", function()
  it("writes a line at level info unless told", function()
    tm.log "first"
    tm.log("second", "error")
    local list = lines()
    assert.equal(2, #list)
    assert.match("first$", list[1])
    assert.match("error", list[2])
    assert.match("second$", list[2])
  end)

  it("takes any value, as tostring shows it", function()
    tm.log(42)
    tm.log(nil)
    tm.log(setmetatable({}, { __tostring = function() return "shown" end }))
    local list = lines()
    assert.match("42$", list[1])
    assert.match("nil$", list[2])
    assert.match("shown$", list[3])
  end)

  it("keeps back what is above the level", function()
    local levels = { "error", "warning", "info", "debug", "TODO" }
    for i, name in ipairs(levels) do
      local before = #lines()
      tm.set_level(name)
      for _, each in ipairs(levels) do tm.log(each, each) end
      assert.equal(i, #lines() - before)
    end
  end)

  it("answers the level before", function()
    assert.equal("TODO", tm.set_level "debug")
    assert.equal("debug", tm.set_level "TODO")
  end)

  it("names the nearest of a level that there is not", function()
    faults.at_line("log: unknown level 'warn' (did you mean 'warning'?)",
      function() tm.log("x", "warn") end)
    faults.at_line("set_level: unknown level 'infos' (did you mean 'info'?)",
      function() tm.set_level "infos" end)
    faults.at_line("sublog: unknown level 'eror' (did you mean 'error'?)",
      function() tm.sublog("x", "eror") end)
  end)

  it("writes whole lines, from whichever worker", function()
    local pool <close> = pools.new "thread"
    local log, rep = tm.log, string.rep
    pool:map(function(i)
      for _ = 1, 20 do log(rep(tostring(i), 500)) end
    end, tm.range(1, 8), 1)
    local list = lines()
    assert.equal(160, #list)
    for _, line in ipairs(list) do
      local text = line:match "(%d+)$"
      assert.equal(500, #text)
      assert.equal(text:sub(1, 1):rep(500), text)
    end
  end)
end)

describe("sublog", function()
  local function depth(line, text)
    local before = line:match("^(.-)" .. text .. "$")
    return #before
  end

  it("indents what follows while its block lasts", function()
    tm.log "outer"
    do
      local _ <close> = tm.sublog "inner"
      tm.log "below"
      do
        local _ <close> = tm.sublog()
        tm.log "deeper"
      end
      tm.log "below"
    end
    tm.log "outer"
    local list = lines()
    local base = depth(list[1], "outer")
    assert.equal(base, depth(list[2], "inner"))
    assert.is_true(depth(list[3], "below") > base)
    assert.is_true(depth(list[4], "deeper") > depth(list[3], "below"))
    assert.equal(depth(list[3], "below"), depth(list[5], "below"))
    assert.equal(base, depth(list[6], "outer"))
  end)

  it("is undone by an error", function()
    tm.log "outer"
    pcall(function()
      local _ <close> = tm.sublog "inner"
      error "left"
    end)
    tm.log "outer"
    local list = lines()
    assert.equal(depth(list[1], "outer"), depth(list[3], "outer"))
  end)

  it("is a worker's own", function()
    local pool <close> = pools.new("thread", { workers = 1 })
    tm.log "outer"
    pool:apply(function()
      local _ <close> = tm.sublog "inner"
      tm.log "below"
    end)
    tm.log "outer"
    local list = lines()
    local base = depth(list[1], "outer")
    assert.equal(base, depth(list[4], "outer"))
    assert.is_true(depth(list[3], "below") > base)
  end)
end)

describe("a log file", function()
  it("is added to, not begun anew", function()
    tm.log "first"
    tm.start_log_file(nil)
    tm.start_log_file(path)
    tm.log "second"
    assert.equal(2, #lines())
  end)

  it("that cannot be opened is an error; the log stays", function()
    local e = faults.of(tm.start_log_file, "/no/such/folder/log")
    assert.match("/no/such/folder/log", tostring(e), 1, true)
    tm.log "still here"
    assert.match("still here$", lines()[1])
    faults.at_line("bad argument #1 to 'start_log_file' (string expected, got table)",
      function() tm.start_log_file {} end)
  end)

  it("is stderr at first", function()
    local outcome = child.run [[
      local tm = require "tidemill"
      tm.log "to stderr"
      tm.log("kept back", "debug")
    ]]
    assert.equal("", outcome.out)
    assert.match("to stderr\n$", outcome.err)
    assert.is_nil(outcome.err:find("kept back", 1, true))
  end)

  it("may come from the config", function()
    local outcome = child.run([[
      local tm = require "tidemill"
      tm.log("a debug line", "debug")
      io.write(io.open("here.log"):read "a")
    ]], { files = { ["config.lua"] =
      'return { log_file = "here.log", log_level = "debug" }' } })
    assert.match("a debug line\n", outcome.out, 1, true)
    assert.equal("", outcome.err)
  end)
end)
