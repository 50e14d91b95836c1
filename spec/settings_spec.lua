-- Settings in force: tm.config, tm.configure, the environment.

local tm = require "tidemill"
local faults = require "spec.support.faults"
local child = require "spec.support.child"

-- Runs a script that prints, and answers its lines joined.
local function printed(text, options)
  local outcome = child.run('local tm = require "tidemill"\n' .. text,
    options)
  assert.equal("", outcome.err)
  return outcome.out
end

describe("tm.config", function()
  it("reads settings by name, and by pairs", function()
    local seen = {}
    for name, value in pairs(tm.config) do seen[name] = value end
    assert.equal(tm.config.threads, seen.threads)
    assert.equal("auto", tm.config.start_method)
    assert.is_nil(tm.config.no_such_setting)
  end)

  it("cannot be written", function()
    faults.at_line("tm.config is read-only; use tm.configure{...}",
      function() tm.config.threads = 3 end)
  end)

  it("is what workers see", function()
    local pool <close> = tm.Pool { workers = 1 }
    assert.equal(tm.config.cext_threads, pool:apply(function()
      return tm.config.cext_threads
    end))
  end)
end)

describe("configure", function()
  it("sets what pools are made by", function()
    assert.equal("3\t3\n", printed [[
      tm.configure { threads = 3 }
      print(tm.config.threads, #tm.thread_pool())
    ]])
    assert.equal("5\n", printed [[
      tm.configure { threads = 5 }
      print(#tm.Pool { kind = "thread" })
    ]])
  end)

  it("is too late when there are pools, for what they depend on", function()
    local out = printed [[
      tm.thread_pool()
      print(pcall(tm.configure, { threads = 3 }))
      tm.configure { log_level = "error", parallel = false, progress = false }
      print(tm.config.log_level, tm.parallel_enabled())
    ]]
    assert.match("false\t.*threads cannot change any more: there are pools",
      out)
    assert.match("\nerror\tfalse\n$", out)
  end)

  it("is all or nothing, and says what is wrong", function()
    local out = printed [[
      print(pcall(tm.configure, { threads = 3, cext_threads = 0 }))
      print(pcall(tm.configure, { thread = 3 }))
      print(pcall(tm.configure, 3))
      print(tm.config.threads)
    ]]
    assert.match("cext_threads must be a whole number from 1 %(got 0%)", out)
    assert.match("unknown key 'thread' (did you mean 'threads'?)", out, 1,
      true)
    assert.match("table expected, got number", out, 1, true)
    assert.match("\nauto\n$", out)
  end)

  it("raises at the caller's line", function()
    faults.at_line("configure: unknown key 'thread' (did you mean 'threads'?)",
      function() tm.configure { thread = 1 } end)
    faults.at_line("bad argument #1 to 'configure' (table expected, got nil)",
      function() tm.configure() end)
  end)

  it("sets limits of later pools", function()
    assert.equal("4\n", printed [[
      tm.configure { threads = 1, max_tasks_per_child = 1 }
      local births = tm.Counter(1000)
      tm.thread_pool():map(tm.task { name = "t", run = type,
        setup = function() births:increment() end }, { 1, 2, 3, 4 }, 1)
      print(births:value())
    ]])
  end)
end)

describe("the environment", function()
  it("overrides config.lua, and configure overrides both", function()
    local files = { ["config.lua"] = "return { threads = 2, processes = 2 }" }
    local text = "print(tm.config.threads, #tm.thread_pool())"
    assert.equal("2\t2\n", printed(text, { files = files }))
    local options = { files = files, env = { "TIDEMILL_THREADS=3" } }
    assert.equal("3\t3\n", printed(text, options))
    assert.equal("4\t4\n", printed("tm.configure { threads = 4 }\n" .. text,
      options))
  end)

  it("may name the config file", function()
    assert.equal("6\n", printed("print(tm.config.threads)", {
      files = { ["other.lua"] = "return { threads = 6 }",
                ["config.lua"] = "return { threads = 2 }" },
      env = { "TIDEMILL_CONFIG=other.lua" },
    }))
  end)

  it("that is wrong ends the script before it begins", function()
    for _, options in ipairs {
      { env = { "TIDEMILL_THREADS=many" }, says = "TIDEMILL_THREADS must be" },
      { env = { "TIDEMILL_CONFIG=none.lua" }, says = "none.lua" },
      { files = { ["config.lua"] = "return { thread = 2 }" },
        says = "config.lua: unknown key 'thread' (did you mean 'threads'?)" },
      { files = { ["config.lua"] = "return {" }, says = "config.lua:1:" },
      { files = { ["config.lua"] = "return { threads = 0 }" },
        says = "threads must be" },
    } do
      local outcome = child.run('print "ran"', options)
      assert.equal(1, outcome.status)
      assert.equal("", outcome.out)
      assert.match(options.says, outcome.err, 1, true)
      assert.is_nil(outcome.err:find("stack traceback", 1, true))
    end
  end)

  it("holds C libraries to one thread, before anything loads", function()
    local text = [[
      print(os.getenv "OMP_NUM_THREADS", os.getenv "OPENBLAS_NUM_THREADS",
        os.getenv "MKL_NUM_THREADS", os.getenv "VECLIB_MAXIMUM_THREADS",
        os.getenv "NUMEXPR_NUM_THREADS")
    ]]
    assert.equal("1\t1\t1\t1\t1\n", printed(text))
    assert.equal("1\t1\t1\t1\t1\n", child.run(text).out)
    assert.equal("7\t2\t2\t2\t2\n", printed(text, {
      env = { "OMP_NUM_THREADS=7", "TIDEMILL_CEXT_THREADS=2" } }))
    assert.equal("7\t3\t3\t3\t3\n",
      printed("tm.configure { cext_threads = 3 }\n" .. text,
        { env = { "OMP_NUM_THREADS=7" } }))
  end)

  it("limits workers to the CPUs that the process may use", function()
    assert.equal("1\n", printed("print(#tm.thread_pool())",
      { prefix = "taskset -c 0" }))
  end)
end)
