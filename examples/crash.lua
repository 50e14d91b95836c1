--- A solver whose C code crashes: the run goes on without the items it hit.
---
--- Integrates a function over many intervals, in worker processes. Some of
--- the items end their own process, each in another way, as a bug in a C
--- library would, or the system when memory is short. With errors = "collect"
--- the map returns every other result, and says of each lost item what its
--- process died of; with retries, an item that only sometimes crashes is done
--- again. Exit status 1 if a number is wrong or missing.
---
---     tidemill examples/crash.lua [items, default 200, at least 100]

local tm = require "tidemill"

local ITEMS = math.tointeger(tonumber(arg[1] or 200))

-- What happens at which items.
local DEADLY = {
  [17] = "SEGV", -- a wild pointer
  [42] = "ABRT", -- a failed assertion, or free() of what was freed
  [58] = "FPE",  -- an integer divided by zero
  [99] = "KILL", -- the system's, when memory is short
}
-- An item that crashes once, and the next time does not.
local FLAKY <const> = 77

local function check(condition, message, ...)
  if not condition then
    io.stderr:write("crash: ", message:format(...), "\n")
    os.exit(1, true)
  end
end

-- A bug at work: the process that runs this is ended by a signal.
local function crash(signal)
  os.execute("kill -" .. signal .. " $PPID")
  while true do end -- a signal may come late
end

-- The integral of sin over [i - 1, i], by the midpoint rule.
local function integrate(i)
  local n, sum = 2000, 0.0
  for k = 1, n do sum = sum + math.sin(i - 1 + (k - 0.5) / n) end
  return sum / n
end

local function exact(i) return math.cos(i - 1) - math.cos(i) end

-- The task of all pools here; tries counts those of the flaky item.
local function make_task(tries)
  return tm.task("integrate", function(i)
    if i == FLAKY and tries:value() == 0 then
      tries:increment()
      crash "BUS"
    end
    if DEADLY[i] then crash(DEADLY[i]) end
    return integrate(i)
  end)
end

-- Compares what is there with the exact integrals; answers how many are.
local function check_results(results)
  local good = 0
  for i = 1, ITEMS do
    if type(results[i]) == "number" then
      good = good + 1
      check(math.abs(results[i] - exact(i)) < 1e-6, "item %d is wrong", i)
    else
      check(DEADLY[i], "item %d is missing: %s", i, results[i])
    end
  end
  return good
end

local function report(results, seconds)
  print(("%d items, %d results, %d lost, in %.3f s"):format(ITEMS,
    ITEMS - #results.errors, #results.errors, seconds))
  for _, i in ipairs(results.errors) do
    local e = results[i]
    print(("  item %3d  %s: %s"):format(i, e.kind,
      e.message:match "^[^;\n]*"))
    check(e.item == i and e.task == "integrate", "item %d has no name", i)
    check(e.message:find("SIG" .. DEADLY[i], 1, true),
      "item %d died of something else", i)
  end
end

local function main()
  check(ITEMS and ITEMS >= 100, "items must be an integer of at least 100")
  local tries = tm.Counter(1000, "{} tries")
  local pool <close> = tm.Pool { kind = "process" }
  print(tostring(pool))

  local start = tm.clock()
  local results = pool:map(make_task(tries), tm.range(ITEMS),
    { errors = "collect", retries = 1 })
  report(results, tm.clock() - start)
  check(check_results(results) == ITEMS - 4, "more was lost than crashed")
  check(tries:value() == 1 and type(results[FLAKY]) == "number",
    "item %d was not tried again", FLAKY)
  print(("  item %3d  crashed once, and was done again"):format(FLAKY))

  -- The pool is as strong as it was.
  local sound = pool:map(integrate, tm.range(ITEMS))
  check(check_results(sound) == ITEMS, "the next map lost something")
  print(("the next map in the same pool: %d items, %d results"):format(ITEMS,
    ITEMS))
end

main()
