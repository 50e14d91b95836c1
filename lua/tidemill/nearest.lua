--- nearest.lua: "did you mean": the known word that a wrong one is nearest to
---
--- Distance is the number of letters to insert, delete, change or swap with
--- their neighbour (optimal string alignment; case counts for nothing).

local nearest = {}

--- The last three rows of the table of distances are enough.
---@param a string
---@param b string
---@return integer
local function distance(a, b)
  local before, last, row = {}, {}, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    row[0] = i
    local x = a:byte(i)
    for j = 1, #b do
      local y = b:byte(j)
      local d = last[j - 1] + (x == y and 0 or 1)
      d = math.min(d, last[j] + 1, row[j - 1] + 1)
      if i > 1 and j > 1 and x == b:byte(j - 1) and y == a:byte(i - 1) then
        d = math.min(d, before[j - 2] + 1)
      end
      row[j] = d
    end
    before, last, row = last, row, before
  end
  return last[#b]
end

--- As many letters as make a beginning that is hardly shared by chance.
local STEM = 4

--- How far word a may be from b and b still be meant: a third of it, and one
--- more where both begin alike (retry, retries).
local function limit(a, b)
  local third = math.min(3, math.max(1, (#a + 1) // 3))
  local alike = #b >= STEM and a:sub(1, STEM) == b:sub(1, STEM)
  return alike and third + 1 or third
end

--- Whether one of the two is the other's beginning.
local function abbreviates(a, b)
  local n = math.min(#a, #b)
  return n >= STEM and a:sub(1, n) == b:sub(1, n)
end

--- The distance of a candidate, or nil when it is not near; words that are
--- near by their beginning alone come after all others.
local function score(word, candidate)
  local a, b = word:lower(), candidate:lower()
  local most, longer = limit(a, b), math.abs(#a - #b)
  local d = longer <= most and distance(a, b) or math.huge
  if d <= most and d < math.max(#a, #b) then return d end
  if abbreviates(a, b) then return 100 + longer end
  return nil
end

--- The candidate that `word` was probably meant to be; of two that are
--- equally near, the first in the alphabet.
---@param word any a wrong word; anything but a string is near nothing
---@param candidates string[]
---@return string|nil
function nearest.find(word, candidates)
  if type(word) ~= "string" or #word > 100 then return nil end
  local best, least
  for _, candidate in ipairs(candidates) do
    local s = score(word, candidate)
    if s and (not least or s < least or s == least and candidate < best) then
      best, least = candidate, s
    end
  end
  return best
end

--- Joins words for a sentence: "a", "a or b", "a, b or c".
---@param words string[]
---@return string
function nearest.any_of(words)
  local n = #words
  if n < 2 then return words[1] or "" end
  return table.concat(words, ", ", 1, n - 1) .. " or " .. words[n]
end

--- What stands after a wrong word: the nearest one, else all of them.
---@param word any
---@param candidates string[]
---@return string # " (did you mean 'b'?)", " (allowed: a, b)", or ""
function nearest.hint(word, candidates)
  local near = nearest.find(word, candidates)
  if near then return (" (did you mean '%s'?)"):format(near) end
  if #candidates == 0 then return "" end
  local sorted = table.move(candidates, 1, #candidates, 1, {})
  table.sort(sorted)
  return (" (allowed: %s)"):format(table.concat(sorted, ", "))
end

--- The whole message: "unknown option 'a' (did you mean 'b'?)".
---@param what string what the word should have been, e.g. "option"
---@param word any
---@param candidates string[]
---@return string
function nearest.unknown(what, word, candidates)
  local hint = nearest.hint(word, candidates)
  return ("unknown %s '%s'%s"):format(what, tostring(word), hint)
end

return setmetatable(nearest, {
  __call = function(_, word, candidates)
    return nearest.find(word, candidates)
  end,
})
