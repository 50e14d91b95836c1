package.path = "lua/?.lua;" .. package.path
local nearest = require "tidemill.nearest"

local OPTIONS = { "chunksize", "callback", "error_callback", "kwds",
                  "progress", "seed", "timeout", "retries", "errors", "out",
                  "name" }

describe("nearest", function()
  local meant = {
    chunksise = "chunksize", -- a letter changed
    chunksze = "chunksize", -- one left out
    chunkksize = "chunksize", -- one too many
    hcunksize = "chunksize", -- two swapped
    ChunkSize = "chunksize", -- in other case
    chunk = "chunksize", -- cut short
    chunksizes = "chunksize",
    callbck = "callback",
    error_calback = "error_callback",
    retry = "retries",
    oput = "out",
    sede = "seed",
  }
  for word, expected in pairs(meant) do
    it("takes '" .. word .. "' for '" .. expected .. "'", function()
      assert.equal(expected, nearest(word, OPTIONS))
    end)
  end

  for _, word in ipairs { "zzz", "x", "", "workers", "ab", "banana" } do
    it("finds nothing near '" .. word .. "'", function()
      assert.is_nil(nearest(word, OPTIONS))
    end)
  end

  it("counts a swap of neighbours as one fault", function()
    assert.equal("abc", nearest("acb", { "abc" }))
    assert.is_nil(nearest("cba", { "abc" }))
  end)

  it("finds nothing near a word of one letter but itself", function()
    assert.is_nil(nearest("a", { "b" }))
  end)

  it("prefers the alphabet's first of two that are as near", function()
    assert.equal("cat", nearest("at", { "hat", "cat" }))
    assert.equal("cat", nearest("at", { "cat", "hat" }))
  end)

  it("prefers a slip to a word that is only cut short", function()
    assert.equal("timeouts", nearest("timeoust", { "timeoustep_long",
                                                   "timeouts" }))
  end)

  it("finds nothing near what is no word", function()
    for _, value in ipairs { 1, true, {}, print } do
      assert.is_nil(nearest(value, OPTIONS))
    end
    assert.is_nil(nearest(nil, OPTIONS))
    assert.is_nil(nearest("seed", {}))
    assert.is_nil(nearest(("seed"):rep(1000), OPTIONS))
  end)
end)

describe("nearest.unknown", function()
  it("names the nearest", function()
    assert.equal("unknown option 'chunksise' (did you mean 'chunksize'?)",
      nearest.unknown("option", "chunksise", OPTIONS))
  end)

  it("lists all, sorted, when none is near", function()
    local list = { "thread", "process", "fake" }
    assert.equal("unknown kind 'zzz' (allowed: fake, process, thread)",
      nearest.unknown("kind", "zzz", list))
    assert.same({ "thread", "process", "fake" }, list)
  end)

  it("says no more when nothing is allowed", function()
    assert.equal("unknown key 'a'", nearest.unknown("key", "a", {}))
  end)

  it("shows what is no string", function()
    assert.equal("unknown key '1' (allowed: a)",
      nearest.unknown("key", 1, { "a" }))
  end)
end)

describe("nearest.any_of", function()
  it("joins words for a sentence", function()
    assert.equal("", nearest.any_of {})
    assert.equal("a", nearest.any_of { "a" })
    assert.equal("a or b", nearest.any_of { "a", "b" })
    assert.equal("a, b or c", nearest.any_of { "a", "b", "c" })
  end)
end)
