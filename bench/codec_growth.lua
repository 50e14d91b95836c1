--- How the codec's cost grows with the number of nodes: ns a node, to bytes
--- and back, from a thousand nodes to a million. It should stay flat but for
--- the caches of the machine; "x" is the last against the first.
---
---     tidemill bench/codec_growth.lua [most nodes, default 1e6]

local core = require "tidemill.core"
local tm = require "tidemill"

local MOST = math.tointeger(tonumber(arg and arg[1] or 1e6)) or 1000000

local cases = {
  { "chain, each table in the next", function(n)
    local t = {}
    for _ = 2, n do t = { t } end
    return t
  end },
  { "list, linked by a field", function(n)
    local t
    for i = 1, n do t = { value = i, next = t } end
    return t
  end },
  { "wide table of tables", function(n)
    local t = {}
    for i = 1, n do t[i] = {} end
    return t
  end },
  { "one table, n times", function(n)
    local t, shared = {}, {}
    for i = 1, n do t[i] = shared end
    return t
  end },
  { "each table twice, crosswise", function(n)
    local t = {}
    for i = 1, n // 2 do t[i] = {} end
    for i = n // 2 + 1, n do t[i] = t[n - i + 1] end
    return t
  end },
  { "distinct strings", function(n)
    local t = {}
    for i = 1, n do t[i] = "string " .. i end
    return t
  end },
  { "equal strings", function(n)
    local t = {}
    for i = 1, n do t[i] = "string" end
    return t
  end },
  { "equal long strings", function(n)
    local t, s = {}, ("string"):rep(50)
    for i = 1, n do t[i] = s end
    return t
  end },
  { "dictionary, distinct keys", function(n)
    local t = {}
    for i = 1, n do t["key " .. i] = true end
    return t
  end },
  { "records {id=, name=, ok=}", function(n)
    local t = {}
    for i = 1, n do t[i] = { id = i, name = "n" .. i, ok = true } end
    return t
  end },
  { "records of 300 kinds", function(n)
    local t = {}
    for i = 1, n do t[i] = { id = i, ["field" .. i % 300] = i } end
    return t
  end },
  { "floats", function(n)
    local t = {}
    for i = 1, n do t[i] = i + 0.5 end
    return t
  end },
}

--- ns a node: the best of some runs, for small ones need many.
local function measure(n, f)
  local best = math.huge
  for _ = 1, n < 1000000 and 5 or 2 do
    local times = math.max(1, 30000 // n)
    collectgarbage()
    collectgarbage "stop"
    local start = tm.clock()
    for _ = 1, times do f() end
    best = math.min(best, (tm.clock() - start) / times)
    collectgarbage "restart"
  end
  return best / n * 1e9
end

print(("%-30s %s"):format("ns a node, pack + unpack",
  "      1e3       1e4       1e5       1e6        x"))
for _, case in ipairs(cases) do
  local name, make = table.unpack(case)
  local line, first, last = { ("%-30s"):format(name) }, nil, nil
  local n = 1000
  while n <= MOST do
    local value = make(n)
    local bytes = core.pack(value)
    local pack = measure(n, function() core.pack(value) end)
    local unpack = measure(n, function() core.unpack(bytes) end)
    last = pack + unpack
    first = first or last
    line[#line + 1] = ("%4.0f+%4.0f"):format(pack, unpack)
    n = n * 10
  end
  line[#line + 1] = ("%6.1f"):format(last / first)
  print(table.concat(line, " "))
end
