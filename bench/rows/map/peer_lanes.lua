--- Lua Lanes, which Debian does not package: lanes that read batches from a
--- linda, 1000 numbers each, made by hand.

local measure = require "support.measure"
local lanes = require "lanes"
if lanes.configure then lanes = lanes.configure() or lanes end

local N <const>, BATCH <const> = measure.size(200000, 100000), 1000
local linda = lanes.linda()

local function serve()
  while true do
    local _, batch = linda:receive("items")
    if not batch then return end
    for i = 1, #batch do batch[i] = batch[i] + 1 end
    linda:send("results", batch)
  end
end

local servers = {}
for i = 1, measure.workers do servers[i] = lanes.gen("*", serve)() end
measure.say("table", measure.each(N, function(n)
  for first = 1, n, BATCH do
    local batch = {}
    for i = 1, BATCH do batch[i] = first + i + 0.5 end
    linda:send("items", batch)
  end
  for _ = 1, n, BATCH do linda:receive "results" end
end))
for _ = 1, #servers do linda:send("items", false) end
for _, server in ipairs(servers) do server:join() end
