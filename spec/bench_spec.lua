-- The benchmarks' own tools: figures, files of results, plots, the catalogue.

package.path = "bench/?.lua;" .. package.path

local catalogue = require "catalogue"
local peers = require "peers"
local plot = require "support.plot"
local report = require "support.report"
local results = require "support.results"
local shell = require "support.shell"
local stats = require "support.stats"

local function file_of(text)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  file:write(text or "")
  return path
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

describe("the benchmarks", function()
  it("sum samples up as a median and a spread", function()
    local median, spread = stats.median { 3, 1, 2, 8, 2 }
    assert.are.equal(2, median)
    assert.are.equal(8, spread)
    assert.are.equal(2, (stats.median { 4, 2 }))
  end)

  it("have programs of ours and known peers in each row", function()
    for _, row in ipairs(catalogue) do
      local paths = shell.lines("ls bench/rows/" .. row.name)
      assert.is_true(#paths > 0, row.name)
      for _, path in ipairs(paths) do
        local peer = path:match "^peer_(.+)%.%w+$"
        assert.is_true(path == "ours.lua" or peers.list[peer] ~= nil, path)
      end
    end
    for _, path in ipairs(shell.lines "ls bench/rows") do
      local found = false
      for _, row in ipairs(catalogue) do found = found or row.name == path end
      assert.is_true(found, path)
    end
  end)

  it("tell better from worse both ways round", function()
    assert.are.equal(2, report.better({}, 1, 2))
    assert.are.equal(2, report.better({ more = true }, 2, 1))
    assert.are.equal("1.50 us", report.value(1.5e-6, "us"))
  end)

  it("read the results that they wrote", function()
    local path = file_of()
    local data = { when = "now", quick = true, machine = { cpus = 2 },
                   figures = { { row = "map", measure = "table", who = "r-p",
                                 median = 1.25e-7, samples = { 1.25e-7 } } } }
    results.save(path, data)
    assert.are.same(data, results.load(path))
    os.remove(path)
  end)

  it("mark what changed beyond noise", function()
    local function save(seconds)
      local path = file_of()
      results.save(path, { when = "now", quick = false, workers = 2,
        machine = { processor = "any", load = "0" },
        figures = { { row = "submit", measure = "one", who = "threads",
                      median = seconds, spread = 1.1, samples = {} } } })
      return path
    end
    local old, worse, same = save(1e-5), save(2e-5), save(1.1e-5)
    local line = ("LUA_PATH='bench/?.lua;;' %s bench/compare.lua %s "):format(
      os.getenv "TIDEMILL" or "lua5.4", old)
    assert.is_truthy(table.concat((shell.lines(line .. worse))):find "WORSE")
    assert.is_nil(table.concat((shell.lines(line .. same))):find "WORSE")
    for _, path in ipairs { old, worse, same } do os.remove(path) end
  end)

  it("draw well-formed plots that hold every point", function()
    local path = file_of()
    plot.write(path, { title = "a < b", xlabel = "x", ylabel = "y",
      xunit = plot.SECONDS, yunit = plot.BYTES, level = 1, series = {
        { name = "one", points = { { 1e-9, 1 }, { 1e-3, 1000 } } },
        { name = "absent", points = {} } } })
    local text = read(path)
    os.remove(path)
    assert.is_truthy(text:find("a &lt; b", 1, true))
    assert.are.equal(3, select(2, text:gsub("<circle", "")))
    assert.is_nil(text:find("absent", 1, true))
    assert.is_nil(text:find "nan" or text:find "inf")
    local _, opened = text:gsub("<%a", "")
    local _, closed = text:gsub("</%a", "")
    local _, single = text:gsub("/>", "")
    assert.are.equal(opened, closed + single)
  end)
end)
