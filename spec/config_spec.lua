package.path = "lua/?.lua;" .. package.path
local config = require "tidemill.config"

-- Directories that a test made, with what is in them.
local made = {}

local function new_directory()
  local name = os.tmpname()
  os.remove(name)
  assert(os.execute("mkdir '" .. name .. "'"))
  made[#made + 1] = name
  return name .. "/"
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

after_each(function()
  for _, name in ipairs(made) do os.execute("rm -rf '" .. name .. "'") end
  made = {}
end)

local function environment(variables)
  return function(name) return variables[name] end
end

-- Loads with nothing around but what the test gives: variables, the text of
-- config.lua beside the script and of config.lua in the working directory.
local function load(given)
  local beside, here = new_directory(), new_directory()
  if given.beside then write(beside .. "config.lua", given.beside) end
  if given.here then write(here .. "config.lua", given.here) end
  local settings, origins, notes, path = config.load {
    script = beside .. "driver.lua", directory = here,
    getenv = environment(given.variables or {}), env = given.env,
  }
  return settings, origins, notes, path, beside, here
end

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

describe("defaults", function()
  it("are in force when nothing else is said", function()
    local settings, origins, notes, path = load {}
    assert.same({
      threads = "auto", processes = "auto", cext_threads = 1,
      parallel = true, start_method = "auto", pin = "auto",
      log_level = "info", progress = false, arena_size = "auto",
    }, settings)
    for _, setting in ipairs(config.keys) do
      assert.equal("default", origins[setting.name])
    end
    assert.same({}, notes)
    assert.is_nil(path)
  end)

  it("are what each setting allows", function()
    for _, setting in ipairs(config.keys) do
      assert.equal(setting.default,
        config.check(setting.name, setting.default, "x"))
      assert.equal("TIDEMILL_" .. setting.name:upper(), setting.env)
      assert.is_true(#setting.allowed > 0)
    end
  end)
end)

describe("check", function()
  local accepted = {
    { "threads", "auto", "auto" }, { "threads", 4, 4 },
    { "threads", 4.0, 4 }, { "processes", 1, 1 }, { "cext_threads", 2, 2 },
    { "parallel", false, false }, { "start_method", "spawn", "spawn" },
    { "max_tasks_per_child", 10, 10 }, { "max_tasks_per_child", false, nil },
    { "max_memory_per_child", 1 << 40, 1 << 40 },
    { "max_memory_per_child", "512M", 512 << 20 },
    { "max_memory_per_child", "2G", 2 << 30 },
    { "max_memory_per_child", "1.5 GiB", 3 << 29 },
    { "max_memory_per_child", "100", 100 },
    { "max_memory_per_child", "64kb", 64 << 10 },
    { "arena_size", "auto", "auto" }, { "arena_size", "1T", 1 << 40 },
    { "pin", true, true }, { "pin", false, false }, { "pin", "auto", "auto" },
    { "log_level", "TODO", "TODO" }, { "log_file", "run.log", "run.log" },
    { "log_file", false, nil }, { "progress", true, true },
  }
  for _, case in ipairs(accepted) do
    local key, value, expected = table.unpack(case, 1, 3)
    it(("takes %s = %s"):format(key, value), function()
      local found = config.check(key, value, "x")
      assert.equal(expected, found)
      assert.equal(math.type(expected), math.type(found))
    end)
  end

  local refused = {
    { "threads", 0, '"auto" or a whole number from 1 (got 0)' },
    { "threads", -1, '"auto" or a whole number from 1 (got -1)' },
    { "threads", 2.5, '"auto" or a whole number from 1 (got 2.5)' },
    { "threads", 0 / 0, nil }, { "threads", math.huge, nil },
    { "threads", "4", '"auto" or a whole number from 1 (got "4")' },
    { "threads", "atuo", '"auto" or a whole number from 1 '
      .. '(got "atuo"; did you mean "auto"?)' },
    { "threads", true, '"auto" or a whole number from 1 (got true)' },
    { "threads", {}, '"auto" or a whole number from 1 (got a table)' },
    { "threads", 1 << 40, '"auto" or a whole number from 1 '
      .. "(got 1099511627776, which is too large)" },
    { "threads", false, nil }, { "processes", 0.5, nil },
    { "cext_threads", "auto", 'a whole number from 1 (got "auto")' },
    { "parallel", 1, "true or false (got 1)" },
    { "parallel", "true", 'true or false (got "true")' },
    { "start_method", "frok", '"auto", "fork" or "spawn" '
      .. '(got "frok"; did you mean "fork"?)' },
    { "max_tasks_per_child", 0,
      "a whole number from 1 or false (no limit) (got 0)" },
    { "max_tasks_per_child", true, nil },
    { "max_tasks_per_child", "5M", nil },
    { "max_memory_per_child", "12X", nil },
    { "max_memory_per_child", "0.0001K", nil },
    { "max_memory_per_child", "9999999T", nil },
    { "max_memory_per_child", "M", nil }, { "max_memory_per_child", "", nil },
    { "pin", "yes", '"auto", true or false (got "yes")' },
    { "log_level", "INFO", nil }, { "log_level", 3, nil },
    { "log_file", "", nil }, { "log_file", 7, nil },
    { "progress", "auto", nil }, { "arena_size", -5, nil },
  }
  for _, case in ipairs(refused) do
    local key, value, expected = table.unpack(case, 1, 3)
    it(("refuses %s = %s"):format(key, value), function()
      local message = message_of(config.check, key, value, "config.lua")
      local begin = ("config.lua: %s must be "):format(key)
      assert.equal(begin, message:sub(1, #begin))
      if expected then assert.equal(begin .. expected, message) end
    end)
  end

  it("names the nearest of an unknown key", function()
    assert.equal("here: unknown key 'thread' (did you mean 'threads'?)",
      message_of(config.check, "thread", 1, "here"))
  end)

  it("lists the keys when none is near", function()
    assert.matches("^here: unknown key 'zzz' %(allowed: arena_size, .*%)$",
      message_of(config.check, "zzz", 1, "here"))
    assert.matches("unknown key '1'", message_of(config.check, 1, 1, "here"))
    assert.matches("unknown key 'nil'",
      message_of(config.check, nil, 1, "here"))
  end)

  it("shortens and cleans what it shows", function()
    local message = message_of(config.check, "pin", ("x"):rep(999), "here")
    assert.is_true(#message < 120, message)
    assert.not_matches("%c", message_of(config.check, "pin", "a\nb\0", "x"))
  end)
end)

describe("apply", function()
  it("sets what is given and notes where it is from", function()
    local settings, origins = load {}
    config.apply(settings, { threads = 3, log_file = "a.log" }, "configure",
      origins)
    assert.equal(3, settings.threads)
    assert.equal("a.log", settings.log_file)
    assert.equal("configure", origins.threads)
    assert.equal("default", origins.processes)
    config.apply(settings, { log_file = false }, "configure", origins)
    assert.is_nil(settings.log_file)
  end)

  it("sets all or nothing", function()
    local settings, origins = load {}
    local before = load {}
    local message = message_of(config.apply, settings,
      { threads = 3, processes = 4, progress = 1 }, "configure", origins)
    assert.equal("configure: progress must be true or false (got 1)",
      message)
    assert.same(before, settings)
    assert.equal("default", origins.threads)
  end)

  it("tells of a wrong key before a wrong value", function()
    for _ = 1, 5 do
      assert.matches("^configure: unknown key 'cores' ",
        message_of(config.apply, {}, { threads = 0, zoo = 1, cores = 1 },
          "configure"))
    end
  end)
end)

describe("a file beside the script", function()
  it("is used", function()
    local settings, origins, notes, path, beside = load {
      beside = 'return { threads = 2, max_memory_per_child = "1G" }',
    }
    assert.equal(beside .. "config.lua", path)
    assert.equal(2, settings.threads)
    assert.equal(1 << 30, settings.max_memory_per_child)
    assert.equal("config.lua: " .. path, origins.threads)
    assert.equal("default", origins.processes)
    assert.same({}, notes)
  end)

  it("comes before the working directory's", function()
    local settings = load { beside = "return { threads = 2 }",
                            here = "return { threads = 3, pin = true }" }
    assert.equal(2, settings.threads)
    assert.equal("auto", settings.pin)
  end)

  it("may be empty of settings, have a first line for the shell and a mark",
    function()
      local settings = load { beside = "return {}" }
      assert.equal("auto", settings.threads)
      settings = load { beside = "\239\187\191#!lua\nreturn {threads = 2}" }
      assert.equal(2, settings.threads)
    end)

  local faults = {
    ["does not parse"] = { "return {\n  threads = = 2 }",
      "config%.lua:2: unexpected symbol near '='$" },
    ["fails"] = { "return {\n  threads = os.getenv('X') }",
      "config%.lua:2: attempt to index a nil value %(global 'os'%)$" },
    ["returns nothing"] = { "threads = 2",
      "config%.lua must return a table %(got nil%)$" },
    ["returns no table"] = { "return 'threads'",
      'config%.lua must return a table %(got "threads"%)$' },
    ["has an unknown key"] = { "return { thread = 2 }",
      "config%.lua: unknown key 'thread' %(did you mean 'threads'%?%)$" },
    ["has a list"] = { "return { 4 }", "config%.lua: unknown key '1' " },
    ["has a wrong value"] = { "return { threads = 2.5 }",
      'config%.lua: threads must be "auto" or a whole number from 1 '
      .. "%(got 2%.5%)$" },
    ["is compiled"] = { string.dump(function() return {} end),
      "config%.lua: attempt to load a binary chunk" },
  }
  for what, case in pairs(faults) do
    it("is an error that names the file when it " .. what, function()
      local message = message_of(load, { beside = case[1] })
      assert.matches(case[2], message)
      assert.matches("^%S+/config%.lua", message)
      assert.equal(1, select(2, message:gsub("config%.lua", "")))
    end)
  end

  it("is an error when it cannot be read", function()
    local beside = new_directory()
    assert(os.execute("mkdir '" .. beside .. "config.lua'"))
    local message = message_of(config.load, {
      script = beside .. "driver.lua", directory = beside,
      getenv = environment {},
    })
    assert.matches("config%.lua: Is a directory$", message)
  end)
end)

describe("a file in the working directory", function()
  it("is used when it has a key of ours", function()
    local settings, origins, notes, path, _, here = load {
      here = "return { processes = 3 }",
    }
    assert.equal(3, settings.processes)
    assert.equal(here .. "config.lua", path)
    assert.equal("config.lua: " .. path, origins.processes)
    assert.same({}, notes)
  end)

  it("is found without a script too", function()
    local here = new_directory()
    write(here .. "config.lua", "return { processes = 3 }")
    local settings = config.load { directory = here,
                                   getenv = environment {} }
    assert.equal(3, settings.processes)
  end)

  local foreign = {
    ["has no key of ours"] = { "return { title = 'x', 4 }",
      "config%.lua has no key of tidemill's$" },
    ["only nearly has one"] = { "return { thread = 4 }",
      "has no key of tidemill's, but 'thread' "
      .. "%(did you mean 'threads'%?%)$" },
    ["does not load in an empty environment"] = {
      "return { threads = tonumber('4') }", "config%.lua:1: attempt to " },
    ["does not parse"] = { "threads: 4", "config%.lua:1: .* near '4'$" },
    ["returns nothing"] = { "x = 1", "must return a table" },
    ["is compiled"] = { string.dump(function() return {} end),
      "binary chunk" },
  }
  for what, case in pairs(foreign) do
    it("is ignored with a note when it " .. what, function()
      local settings, origins, notes, path = load { here = case[1] }
      assert.equal("auto", settings.threads)
      assert.equal("default", origins.threads)
      assert.is_nil(path)
      assert.equal(1, #notes)
      assert.matches("^ignored in the working directory: %S+config%.lua",
        notes[1])
      assert.matches(case[2], notes[1])
    end)
  end

  it("is ours, faults and all, with one key of ours", function()
    assert.matches("unknown key 'title'",
      message_of(load, { here = "return { threads = 2, title = 'x' }" }))
    assert.matches("threads must be",
      message_of(load, { here = "return { threads = 0 }" }))
  end)

  it("can reach nothing", function()
    local _, _, notes = load { here = "_G.x = 1" }
    assert.matches("global '_G'", notes[1])
    assert.is_nil(rawget(_G, "x"))
  end)
end)

describe("TIDEMILL_CONFIG", function()
  it("names the file, before all others", function()
    local named = write(new_directory() .. "site.lua",
      "return { threads = 7 }")
    local settings, origins, _, path = load {
      variables = { TIDEMILL_CONFIG = named },
      beside = "return { threads = 2, pin = true }", here = "not ours",
    }
    assert.equal(7, settings.threads)
    assert.equal("auto", settings.pin)
    assert.equal(named, path)
    assert.equal("config.lua: " .. named, origins.threads)
  end)

  it("must exist, load and be right", function()
    local directory = new_directory()
    local function try(text)
      local named = directory .. "site.lua"
      if text then write(named, text) end
      return message_of(load, { variables = { TIDEMILL_CONFIG = named } })
    end
    assert.matches("^TIDEMILL_CONFIG names a file that does not exist: "
      .. "%S+/site%.lua$", try(nil))
    assert.matches("/site%.lua:1: ", try("return {"))
    assert.matches("/site%.lua must return a table", try("x = 1"))
    assert.matches("/site%.lua: unknown key 'title'",
      try("return { title = 1 }"))
  end)

  it("counts for nothing when empty", function()
    local _, _, _, path = load { variables = { TIDEMILL_CONFIG = "" },
                                 beside = "return {}" }
    assert.matches("config%.lua$", path)
  end)
end)

describe("environment variables", function()
  it("override the file", function()
    local settings, origins = load {
      beside = "return { threads = 2, processes = 2 }",
      variables = { TIDEMILL_THREADS = "5" },
    }
    assert.equal(5, settings.threads)
    assert.equal("environment: TIDEMILL_THREADS", origins.threads)
    assert.equal(2, settings.processes)
  end)

  local read = {
    { "threads", "auto", "auto" }, { "threads", " 8 ", 8 },
    { "parallel", "true", true }, { "parallel", "0", false },
    { "parallel", "1", true }, { "parallel", "no", false },
    { "parallel", "YES", true }, { "pin", "auto", "auto" },
    { "pin", "off", false }, { "cext_threads", "4", 4 },
    { "max_tasks_per_child", "1", 1 },
    { "max_tasks_per_child", "none", nil },
    { "max_memory_per_child", "2G", 2 << 30 },
    { "max_memory_per_child", "4096", 4096 },
    { "log_level", "debug", "debug" }, { "log_file", "1", "1" },
    { "log_file", "a b.log", "a b.log" }, { "arena_size", "64M", 64 << 20 },
    { "start_method", "fork", "fork" }, { "progress", "1", true },
  }
  for _, case in ipairs(read) do
    local key, text, expected = table.unpack(case, 1, 3)
    it(("read %s from '%s'"):format(key, text), function()
      local name = "TIDEMILL_" .. key:upper()
      local settings, origins = load { variables = { [name] = text } }
      assert.equal(expected, settings[key])
      assert.equal(math.type(expected), math.type(settings[key]))
      assert.equal("environment: " .. name, origins[key])
    end)
  end

  it("are refused by their name, with what they said", function()
    assert.equal('environment: TIDEMILL_THREADS must be "auto" or a whole '
      .. 'number from 1 (got "2.5")',
      message_of(load, { variables = { TIDEMILL_THREADS = "2.5" } }))
    assert.equal("environment: TIDEMILL_PROGRESS must be true or false "
      .. '(got "maybe")',
      message_of(load, { variables = { TIDEMILL_PROGRESS = "maybe" } }))
  end)

  it("count for nothing when empty", function()
    local settings, origins = load { variables = { TIDEMILL_THREADS = "" } }
    assert.equal("auto", settings.threads)
    assert.equal("default", origins.threads)
  end)

  it("are left alone with env = false", function()
    local settings = load { env = false, variables = {
      TIDEMILL_THREADS = "0", TIDEMILL_CONFIG = "nowhere" } }
    assert.equal("auto", settings.threads)
  end)
end)

describe("thread_variables", function()
  it("holds C libraries to cext_threads", function()
    assert.same({
      OMP_NUM_THREADS = "3", OPENBLAS_NUM_THREADS = "3",
      MKL_NUM_THREADS = "3", VECLIB_MAXIMUM_THREADS = "3",
      NUMEXPR_NUM_THREADS = "3",
    }, config.thread_variables({ cext_threads = 3 }, environment {}))
  end)

  it("lets what the user has set win", function()
    local wanted = config.thread_variables({ cext_threads = 1 },
      environment { OMP_NUM_THREADS = "8", MKL_NUM_THREADS = "" })
    assert.is_nil(wanted.OMP_NUM_THREADS)
    assert.equal("1", wanted.MKL_NUM_THREADS)
    assert.equal("1", wanted.OPENBLAS_NUM_THREADS)
  end)
end)
