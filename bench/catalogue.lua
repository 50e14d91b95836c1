--- The rows: what is measured, in which unit, and what we want to reach.
---
--- A row is a directory bench/rows/NAME with a program of ours and those of
--- peers. A program prints measures; values are seconds, or plain numbers
--- where `unit` says so. `goal` is in that unit; a table has one for each who.

---@class bench.measure
---@field id string as programs print it
---@field title string
---@field unit "ns"|"us"|"ms"|"x"|"%"|"MiB"
---@field goal? number|table<string, number>
---@field more? boolean whether more is better

---@class bench.row
---@field name string
---@field title string
---@field [integer] bench.measure

---@type bench.row[]
return {
  { name = "region", title = "a warm region of kernels",
    { id = "meet", title = "both threads meet", unit = "us", goal = 0.25 },
    { id = "empty", title = "1000 empty items", unit = "us", goal = 0.25 },
  },
  { name = "wake", title = "0.4 ms of kernels after 1 ms of sleep",
    { id = "wake50", title = "second thread begins, p50", unit = "us",
      goal = 45 },
    { id = "wake99", title = "second thread begins, p99", unit = "us",
      goal = 300 },
    { id = "excess50", title = "time beyond half the work, p50", unit = "us" },
    { id = "excess99", title = "time beyond half the work, p99", unit = "us",
      goal = 300 },
    { id = "burn", title = "CPU beyond the work, meanwhile", unit = "%" },
    { id = "idle", title = "CPU of an idle pool", unit = "%", goal = 5 },
  },
  { name = "chunk", title = "a chunk claimed by a kernel",
    { id = "alone", title = "one thread", unit = "ns", goal = 10 },
    { id = "shared", title = "all threads", unit = "ns" },
  },
  { name = "imbalance", title = "cost rises with the item's number",
    { id = "speedup", title = "speed-up, default schedule", unit = "x",
      goal = 1.95, more = true },
  },
  { name = "map", title = "map of a trivial function, default chunks",
    { id = "table", title = "an item, table to table", unit = "ns",
      goal = { threads = 70, processes = 90 } },
    { id = "array", title = "an item, array to array", unit = "ns",
      goal = { threads = 30 } },
  },
  { name = "map_chunk1", title = "map of a trivial function, chunksize 1",
    { id = "item", title = "an item", unit = "us",
      goal = { processes = 0.4 } },
  },
  { name = "submit", title = "submit one call, get its result",
    { id = "one", title = "a call", unit = "us",
      goal = { threads = 10, processes = 15 } },
  },
  { name = "start", title = "from nothing to a result",
    { id = "first", title = "a new pool's first result", unit = "ms",
      goal = { threads = 0.12, processes = 4 } },
    { id = "require", title = "require \"tidemill\"", unit = "ms", goal = 2 },
  },
  { name = "floats", title = "1e6 floats in a table to a worker, sum back",
    { id = "time", title = "there and summed", unit = "ms", goal = 45 },
    { id = "memory", title = "memory beside the table", unit = "MiB",
      goal = 35 },
  },
  { name = "records", title = "1e5 records to a worker, sum back",
    { id = "time", title = "there and summed", unit = "ms", goal = 150 },
  },
  { name = "array_task", title = "a 1 MiB array to a task and back",
    { id = "task", title = "a task", unit = "us", goal = 20 },
  },
  { name = "gib", title = "1 GiB array, 4 workers, 64 slice sums",
    { id = "time", title = "all sums, warm", unit = "ms", goal = 55 },
    { id = "memory", title = "memory of all, over the array's", unit = "x",
      goal = 1.035 },
  },
  { name = "refresh", title = "fresh workers, 1 GiB of arrays in the script",
    { id = "time", title = "to the first result", unit = "ms", goal = 6 },
  },
  { name = "element", title = "a shared element, read from the script",
    { id = "read", title = "a read", unit = "ns", goal = 35 },
    { id = "bulk", title = "an element, summed in bulk", unit = "ns" },
  },
  { name = "speedup", title = "a kernel in plain Lua, time limit set",
    { id = "speedup", title = "speed-up", unit = "x", goal = 1.9,
      more = true },
  },
  { name = "floors", title = "what the machine can do",
    { id = "clock", title = "clock_gettime", unit = "ns" },
    { id = "line", title = "cache line to another core and back",
      unit = "ns" },
    { id = "futex", title = "futex, wake another thread and be woken",
      unit = "us" },
    { id = "call", title = "call of an empty Lua function", unit = "ns" },
    { id = "pcall", title = "pcall of it", unit = "ns" },
    { id = "loop", title = "plain loop, an item, table to table",
      unit = "ns" },
  },
}
