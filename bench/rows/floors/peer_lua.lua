--- What calls cost in the interpreter that runs us.

local measure = require "support.measure"

local N <const> = 1000000

local function nothing() end

measure.say("call", measure.each(N, function(n)
  for _ = 1, n do nothing() end
end))
measure.say("pcall", measure.each(N, function(n)
  for _ = 1, n do pcall(nothing) end
end))

local items = {}
for i = 1, N do items[i] = i + 0.5 end
local function add_one(x) return x + 1 end
measure.say("loop", measure.each(N, function(n)
  local out = {}
  for i = 1, n do out[i] = add_one(items[i]) end
  return out
end))
