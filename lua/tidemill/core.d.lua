---@meta tidemill

--- `local tm = require "tidemill"`. What follows holds everywhere:
---
--- Errors. A wrong argument, like a closed pool, is raised where the caller
--- wrote it, as a string with file and line. What goes wrong with a job is a
--- `tidemill.error`.
---
--- Threads. Each worker has a Lua state of its own, and every state may call
--- every function. What a comment calls "the script" is the state that calls.
--- Pools and results belong to their state and cannot be sent; keys, counters,
--- tasks and arrays can.
---
--- Units. Times are seconds, as numbers; sizes are bytes. Items, workers and
--- whatever else is counted are counted from 1.
---@class tidemill
---@field version string of the library, e.g. "0.1.0"
---@field array tidemill.array_maker makes arrays
---@field config tidemill.config the settings in force; read-only
local tm = {}

-- ---- making pools --------------------------------------------------------

--- Options of `tm.Pool`. An unknown one is an error that names the nearest.
---@class tidemill.pool_options
---@field kind? "thread"|"process"|"fake" "thread" unless given
---@field workers? integer from 1 to 4095; unless given the setting `threads`,
---  or `processes`. A fake pool has 1
---@field initializer? function called in each worker before its first item,
---  and again in a worker that takes the place of another; in a fake pool
---  once, at once. If it raises, every item fails with that error
---@field initargs? table arguments of the initializer, up to its n
---@field max_tasks_per_child? integer items after which a worker starts again
---  with a fresh state, or another process takes its place; the setting of
---  that name unless given, no limit without it
---@field max_memory_per_child? integer bytes of Lua memory after which it does,
---  when the item is done. What a forked worker inherited does not count
---@field pin? boolean|"auto" whether each thread gets a CPU of its own; the
---  setting of that name unless given
---@field start_method? "auto"|"fork"|"spawn" of worker processes: they inherit
---  the script's state, or are the command tidemill, started afresh; "auto"
---  takes spawn where the process has threads that are not tidemill's; the
---  setting of that name unless given
local pool_options = {}

--- The runtime's shared pool of worker threads, made on first use with as many
--- workers as the setting `threads` says. Where parallelism is off, a fake
--- pool. A shared pool that was closed is replaced at the next call.
---@return tidemill.pool
function tm.thread_pool() end

--- The runtime's shared pool of worker processes, made on first use with as
--- many workers as the setting `processes` says. Where parallelism is off, and
--- in a worker process, a fake pool. A worker that dies (killed, crashed in C)
--- fails the item that it ran, with "worker_died"; another takes its place.
---@param new? boolean|{new:boolean} true: the pool that there is is closed and
---  joined first, so that the workers inherit today's state where they are
---  forked. What is stored, or updated, needs no new pool
---@return tidemill.pool
function tm.process_pool(new) end

--- A pool that runs items one after the other in the script's own state. It
--- has the same methods and raises the same errors; items are run when they
--- are submitted, those of `imap` when they are asked for. Nothing is copied:
--- functions see and change the script's own variables.
---@return tidemill.pool
function tm.FakePool() end

--- Makes a pool of the caller's own. It ends with its variable when that is
--- `<close>`, at the latest when it is collected.
---@param options tidemill.pool_options
---@return tidemill.pool
function tm.Pool(options) end

--- Turns parallelism off: without arguments while the guard that it returns
--- lives, `local _ <close> = tm.no_parallel()`; with a function while
--- `f(...)` runs, whose results it returns. `tm.thread_pool` and
--- `tm.process_pool` answer a fake pool then. Blocks nest, and end on an error
--- too. It counts for the state that calls it.
---@param f? function
---@param ... any arguments of f
---@return any ... the guard, or what f returned
function tm.no_parallel(f, ...) end

--- Whether parallelism is on here: the setting `parallel` is not false, and no
--- `tm.no_parallel` block is open.
---@return boolean
function tm.parallel_enabled() end

-- ---- the methods of pools ------------------------------------------------

--- What a method of a pool is to do besides; a number in its place is the
--- chunksize. Those of a task are its defaults. An unknown option is an error
--- that names the nearest.
---@class tidemill.options
---@field chunksize? integer items that a worker takes at once, from 1. Unless
---  given it is measured as the job runs; 1 in `imap`
---@field callback? function called with the results, in the script, when it
---  waits or polls. Not for `imap`
---@field error_callback? function called with the error instead. Not for `imap`
---@field kwds? table passed as one last argument, when it is not empty
---@field progress? boolean whether to draw a progress line on stderr; the
---  setting of that name unless given. Not for `apply`
---@field seed? integer seeds math.random before item i from the pair of (seed,
---  i): the numbers do not depend on pool, workers or chunksize
---@field timeout? number seconds that an item may take, above 0; no limit
---  unless given
---@field retries? integer how often an item is tried again after a timeout,
---  or when its process died; 0 unless given. Lua errors are not tried again
---@field errors? "raise"|"collect" "raise", the first error by item order,
---  unless given; "collect" puts errors where their results would be
---@field name? string of the task, for errors and progress
---@field out? tidemill.array takes the results of a map, numbers, which are
---  not gathered in a table then; it has an element for each item, and is what
---  the map returns. Not for `apply` and `imap`, nor with `errors = "collect"`
local options = {}

--- Items are a sequence (up to its n, when it has one), a `tm.range`, an array
--- (its elements, those of c128 as two arguments; with two or more dimensions
--- views of its rows), or an iterator function that needs no arguments and ends
--- with nil.
---@alias tidemill.items table|tidemill.range|tidemill.array|fun():any

--- What a map returns: the first result of each item in item order, and n, so
--- that a nil keeps its place.
---@class tidemill.results
---@field n integer how many items there were
---@field errors? integer[] with `errors = "collect"`: the items that failed, in
---  ascending order; their error objects stand in the place of results
local results = {}

--- A pool of workers. `#pool` is the number of workers; `tostring(pool)` says
--- kind, workers and state. As a `<close>` variable it is closed and joined
--- when the block ends well, and terminated and joined when it ends by an
--- error. Methods raise "the pool is closed" after `close` or `terminate`, and
--- an error of kind "send", before anything runs, for a function or an item
--- that cannot travel.
---@class tidemill.pool
local Pool = {}

--- Calls `f(table.unpack(args))` in a worker, and returns all that it returns.
---@param f function|tidemill.task
---@param args? table arguments, up to its n
---@param opts? tidemill.options|integer
---@return any ...
function Pool:apply(f, args, opts) end

--- As `apply`, without waiting.
---@param f function|tidemill.task
---@param args? table
---@param opts? tidemill.options|integer
---@return tidemill.result
function Pool:apply_async(f, args, opts) end

--- Calls f with each item. Raises the first error by item order, with what was
--- done in its `results`: items below that one all finish, and those above
--- that nobody had begun are skipped.
---@param f function|tidemill.task
---@param items tidemill.items
---@param opts? tidemill.options|integer
---@return tidemill.results
function Pool:map(f, items, opts) end

--- As `map`, without waiting.
---@param f function|tidemill.task
---@param items tidemill.items
---@param opts? tidemill.options|integer
---@return tidemill.result
function Pool:map_async(f, items, opts) end

--- As `map`, with items that are tables of arguments, up to their n.
---@param f function|tidemill.task
---@param items tidemill.items
---@param opts? tidemill.options|integer
---@return tidemill.results
function Pool:starmap(f, items, opts) end

--- As `starmap`, without waiting.
---@param f function|tidemill.task
---@param items tidemill.items
---@param opts? tidemill.options|integer
---@return tidemill.result
function Pool:starmap_async(f, items, opts) end

--- For a generic `for`: number and result of each item, in item order, as they
--- come. At most 4 x workers x chunksize items are read ahead of those taken,
--- so an endless iterator is fine; leaving the loop cancels the rest. An
--- iterator's own error comes after the results of what it gave before.
---@param f function|tidemill.task
---@param items tidemill.items
---@param opts? tidemill.options|integer
---@return fun():(integer?,any) iterator
---@return nil
---@return nil
---@return table closing the loop's to-be-closed value
function Pool:imap(f, items, opts) end

--- As `imap`, in the order in which items are done.
---@param f function|tidemill.task
---@param items tidemill.items
---@param opts? tidemill.options|integer
---@return fun():(integer?,any) iterator
---@return nil
---@return nil
---@return table closing the loop's to-be-closed value
function Pool:imap_unordered(f, items, opts) end

--- Runs a kernel over items, on the pool's workers and the calling thread, and
--- waits; in a pool of processes the workers do it alone. The arguments are
--- checked against the kernel's signature before anything runs. Raises a
--- `tidemill.error` of the lowest item that failed; its `item` is counted from
--- 0, as the kernel counts.
---@param kernel tidemill.kernel|tidemill.cfunction
---@param items integer|tidemill.kernel_range how many items, or which
---@param ... number|tidemill.array arguments of the kernel
---@return number|number[]|nil result what the kernel reduces to: a number, or a
---  table where it has several elements
function Pool:run(kernel, items, ...) end

--- The same without waiting: a job in the pool's queue, which the workers do
--- without the caller. The arrays are kept while it runs.
---@param kernel tidemill.kernel|tidemill.cfunction
---@param items integer|tidemill.kernel_range
---@param ... number|tidemill.array
---@return tidemill.result
function Pool:run_async(kernel, items, ...) end

--- Takes no more jobs. Workers end when those that it has are done. May be
--- called again.
function Pool:close() end

--- Cancels all jobs and ends the workers; one that does not come back from C
--- code is left behind by `join`. May be called again.
function Pool:terminate() end

--- Waits until the workers of a pool that was closed or terminated have ended;
--- the callbacks of its jobs have run then. Raises what a callback raised, and
--- an error when the pool is open, or when a worker joins its own pool.
function Pool:join() end

-- ---- results that are awaited --------------------------------------------

--- What the asynchronous methods return. It belongs to the state that made it.
--- Callbacks run once, in that state, inside `get`, `wait`, `tm.poll` or
--- `join`, never beside the script; they have run when `get` or `wait` returns.
---@class tidemill.result
local Result = {}

--- Waits, and returns what the call itself would have returned, or raises what
--- it would have raised. Raises kind "timeout" when the time is up; the job
--- goes on then. An error of the job's own callback comes out here, once.
---@param timeout? number seconds; no limit unless given
---@return any ...
function Result:get(timeout) end

--- Waits, and answers whether the job is done. Does not raise the job's error,
--- but that of its callback.
---@param timeout? number seconds; no limit unless given
---@return boolean done
function Result:wait(timeout) end

--- Whether the job is done. Does not wait, and runs no callbacks.
---@return boolean
function Result:ready() end

--- Whether the job ended without an error; itself an error while it runs.
---@return boolean
function Result:successful() end

--- Stops the job: items that wait are skipped, items that run are unwound; in C
--- code, when it comes back to Lua. `get` raises kind "cancelled" then.
---@return boolean stopped false when it was done or stopped already
function Result:cancel() end

--- Runs the callbacks of jobs that have ended. Raises the first error that a
--- callback raised and that nothing has told yet.
---@return integer count of jobs whose callbacks ran
function tm.poll() end

--- A file descriptor for event loops (luv, cqueues, a host's own): it is
--- readable while jobs of this state have ended that `tm.poll()` has not seen.
--- Watch it and call `tm.poll()` when it is readable; do not read or close it.
--- From the first call on, every asynchronous job is told there, also one
--- without callbacks: its result is then `ready()`.
---@return integer fd
function tm.fileno() end

--- `error(e, 0)` as a function, for `error_callback`.
---@param e any
function tm.raiser(e) end

-- ---- errors --------------------------------------------------------------

--- Every error that comes out of a pool. `tostring` shows all of it.
---@class tidemill.error
---@field kind tidemill.error_kind
---@field value any what the task raised, unchanged; else the message
---@field message string value as text
---@field task? string name of the task or function
---@field item? integer which item; nil for `apply`, and for what concerns the
---  whole job
---@field traceback? string the worker's stack, when the task raised
---@field results? tidemill.results of a map that raised: what was done
local Error = {}

--- "task": it raised an error. "timeout": an item, or `get`, took longer than
--- allowed. "cancelled": by `cancel` or `terminate`. "interrupted": by Ctrl-C.
--- "send": a function, item or result that cannot travel; its message names the
--- path. "worker_died": the worker process was killed, crashed or called _exit.
---@alias tidemill.error_kind string

-- ---- tasks and ranges ----------------------------------------------------

--- Fields of `tm.task`. The options in it are defaults for calls with it.
---@class tidemill.task_fields
---@field name string for errors and progress
---@field run function what is called with each item
---@field setup? function called once in each worker before its first item
---@field chunksize? integer as in tidemill.options
---@field timeout? number seconds for each item
---@field retries? integer after a timeout, or a death
---@field seed? integer as in tidemill.options
local task_fields = {}

--- A function with a name and options, accepted wherever a function is; calling
--- it calls the function. A worker reads it once and keeps its upvalues from
--- job to job, where a plain function has fresh ones in each job.
---@class tidemill.task
---@overload fun(...:any):any
local Task = {}

--- Declares a task: `tm.task(name, f)` or `tm.task{name=, run=, ...}`.
---@param name string|tidemill.task_fields
---@param f? function
---@return tidemill.task
function tm.task(name, f) end

--- Numbers as items, without a table of them: `r[i]` for i from 1 to `#r`.
---@class tidemill.range
---@field first number
---@field step number
---@field n integer how many there are
local Range = {}

--- The numbers first, first + step, ... up to last; with one argument the
--- integers from 1 to it. Empty when last is not in the direction of step.
---@param first number
---@param last? number
---@param step? number 1 unless given; 0 is an error
---@return tidemill.range
function tm.range(first, last, step) end

-- ---- the store -----------------------------------------------------------

--- Names an object in the store. Keys can be sent, compare with `==`, and are
--- never used again.
---@class tidemill.key
local Key = {}

--- Stores a snapshot of an object for all workers. It stays until
--- `tm.glob_remove`. Later changes in place are private until `tm.glob_update`.
--- An object that cannot travel is kept for this state; readers elsewhere get
--- the error.
---@param object any
---@return tidemill.key
function tm.glob_store(object) end

--- Reads an object. The state that stored it gets that very object; any other
--- gets its own copy, made at most once for each version. A task sees the store
--- at least as new as when its job was submitted. An unknown or removed key is
--- an error that names it.
---@param key tidemill.key
---@return any
function tm.glob_read(key) end

--- Puts an object in the place of what is stored; from any state. A removed key
--- is an error.
---@param key tidemill.key
---@param object any
function tm.glob_update(key, object) end

--- Removes an object that this state stored; one that another stored stays, and
--- nothing happens. A removed key is an error.
---@param key tidemill.key
function tm.glob_remove(key) end

--- For classes: `tm.glob_store_attributes("a", "b")(Class)` keeps these
--- attributes in the store; an instance that is sent carries their keys only.
--- For classes that are plain metatables, middleclass or Penlight. Assign to
--- publish anew: `d.b = d.b`. Objects go with the last instance that has them.
--- A subclass knows its parents' attributes; a plain one is decorated too, with
--- names of its own or none.
---@param ... string names of attributes
---@return fun(class:table):table decorator returns its class
function tm.glob_store_attributes(...) end

-- ---- arrays --------------------------------------------------------------

--- Types of elements: 64- and 32-bit floats, 64- and 32-bit integers, bytes,
--- and pairs of 64-bit floats.
---@alias tidemill.dtype "f64"|"f32"|"i64"|"i32"|"u8"|"c128"

--- A block of numbers of one type, in memory that all workers share. It is sent
--- by handle, never copied; a write is seen by all. Writing one element from
--- two workers at once is the tasks' own affair.
---
--- `a[i]`, for i from 1 to `#a`, is an element, or with two or more dimensions a
--- view of a row; an index out of bounds is an error, so that `ipairs` does not
--- end (`pairs` and `iter` do). An element of a c128 array is two numbers: read
--- it with `get` and write it with `set`. `a[i] = row` copies an array of the
--- row's shape. `==` says whether both are the same elements of the same memory
--- in the same shape.
---
--- A number that an integer type does not hold exactly, or an integer that a
--- float type would round, is an error. A float goes into f32 rounded.
---
--- Methods that change the array return it. Wherever x is a number, c128 takes
--- a second one, the imaginary part, and gives two.
---@class tidemill.array
---@field dtype tidemill.dtype
---@field shape integer[] a fresh table
---@field size integer elements in all
---@field rank integer dimensions, 1 to 8
---@field readonly boolean true of a mapped file, and of its views
---@operator len: integer
---@field [integer] any
local Array = {}

--- `tm.array(dtype, n)` and `tm.array(dtype, {n, m, ...})` make zeros of that
--- shape. `tm.array(values)` and `tm.array(values, dtype)` take the values of a
--- table, or tables of tables; f64 unless a type is given. So what comes first
--- decides: after a type stands a shape, after values a type. Values of c128
--- are pairs {re, im}, as `totable` writes them. An array that does not fit in
--- memory is an error.
---@class tidemill.array_maker
---@field load fun(path:string, options?:{mmap:boolean}):tidemill.array tm.load
---@overload fun(dtype:tidemill.dtype, shape:integer|integer[]):tidemill.array
---@overload fun(values:table, dtype?:tidemill.dtype):tidemill.array
local array_maker = {}

--- Reads an array from a file in NumPy's .npy format (versions 1 to 3,
--- little-endian; elements in Fortran order are put in C order). With
--- {mmap = true} the file itself is the memory: read-only, one mapping for all
--- workers, each page read when it is first looked at. A file that is
--- malformed, or cut short, is an error. Do not cut a mapped file short.
---@param path string
---@param options? {mmap:boolean}
---@return tidemill.array
function tm.load(path, options) end

--- Writes a .npy file (version 1.0). It appears when it is complete, in the
--- place of one that was there.
---@param path string
---@return tidemill.array self
function Array:save(path) end

--- The element at these indices; of fewer indices than dimensions, a view.
---@param ... integer
---@return any element two numbers of c128
function Array:get(...) end

--- Writes an element: all indices, then the value.
---@param ... number
---@return tidemill.array self
function Array:set(...) end

--- Rows (or elements) first to last, in the same memory.
---@param first? integer 1 unless given
---@param last? integer `#a` unless given; first - 1 for none
---@return tidemill.array
function Array:view(first, last) end

--- The same elements in another shape, in the same memory.
---@param ... integer|integer[] extents, or one table of them
---@return tidemill.array
function Array:reshape(...) end

--- A copy in memory of its own, also in another type.
---@param dtype? tidemill.dtype
---@return tidemill.array
function Array:copy(dtype) end

--- The elements as nested tables; those of c128 as {re, im}.
---@return table
function Array:totable() end

--- For a generic for, as `pairs(a)`: i and `a[i]`; or i, re, im.
---@return function, tidemill.array, integer
function Array:iter() end

--- Sets all elements.
---@param x number
---@param im? number of c128
---@return tidemill.array self
function Array:fill(x, im) end

--- Adds a number to each element, or the elements of an array of the same type
--- and shape. Integers that would overflow are an error, and nothing changes.
---@param x number|tidemill.array
---@param im? number of c128
---@return tidemill.array self
function Array:add(x, im) end

--- Multiplies each element, as `add` adds.
---@param x number
---@param im? number of c128
---@return tidemill.array self
function Array:scale(x, im) end

--- The sum of all elements. Floats are added in pairs, in double precision, in an
--- order that depends on their number alone: the same elements give the same
--- bits. Integers that would overflow are an error.
---@return number
function Array:sum() end

--- The sum of a[i] * b[i] over all elements, as `sum` adds; for c128 of the
--- conjugate of a[i] times b[i].
---@param b tidemill.array of the same type and shape
---@return number
function Array:dot(b) end

--- The least element; nan if any is. Not of c128, nor of no elements.
---@return number
function Array:min() end

--- The greatest element; nan if any is. Not of c128, nor of no elements.
---@return number
function Array:max() end

-- ---- kernels -------------------------------------------------------------

--- Items of a kernel: `{n}` or `{first, last}`, counted from 0 up to last - 1,
--- and options. An unknown one is an error that names the nearest.
---@class tidemill.kernel_range
---@field [1] integer how many, or the first
---@field [2]? integer one more than the last
---@field chunksize? integer items that a worker claims at once; measured
---  unless given
---@field timeout? number seconds for the whole run, looked at between chunks;
---  a kernel that runs is told, not stopped; a worker process that does not
---  listen is killed
---@field retries? integer how often items are done again whose worker process
---  died; 0 unless given
---@field callback? fun(...:any) of `run_async`, as for maps
---@field error_callback? fun(e:tidemill.error) of `run_async`

--- A C function with a typed signature; see include/tidemill_kernel.h. Calling
--- it with what `run` takes runs it on the calling thread alone. Kernels can be
--- sent to workers.
---@class tidemill.kernel
---@field name string
---@field signature string e.g. "f64[#] y, const f64[#] x, f64 s"
---@field kind "range"|"item"
---@field library string the path it was loaded from; "" for the host's
---@operator call(...): any

--- Options of `tm.compile`.
---@class tidemill.compile_options
---@field cflags? string|string[] flags of the compiler, after its own
---@field libs? string|string[] libraries: "lapack", "-llapack" or a path
---@field name? string answer this kernel alone, instead of a table

--- Compiles C text that ends with a TM_KERNELS table, and loads its kernels.
--- What was compiled before is taken from the user's cache folder. Errors of
--- the compiler name the script's own lines.
---@param source string
---@param options? tidemill.compile_options
---@return table<string, tidemill.kernel>|tidemill.kernel
function tm.compile(source, options) end

--- Loads the kernels of a shared library. It stays loaded.
---@param path string a file, or a name that the system looks up
---@return table<string, tidemill.kernel>
function tm.load_kernels(path) end

--- A kernel that the host program registered with tm_kernel_register.
---@param name string
---@return tidemill.kernel
function tm.kernel(name) end

--- A plain C function, called with numbers, strings and arrays (for pointers;
--- nil is NULL). Can be sent to workers, and one of numbers run over arrays:
--- `pool:run(cos, n, out, x)`.
---@class tidemill.cfunction
---@operator call(...): any

--- A function of a C library. Needs libffi.
---@param library string|nil as dlopen takes it; nil: the program itself
---@param declaration string e.g. "double pow(double x, double y)"
---@return tidemill.cfunction
function tm.cfunction(library, declaration) end

-- ---- counters ------------------------------------------------------------

--- One count that all workers share; sent by handle.
---@class tidemill.counter
local Counter = {}

--- Makes a counter at 0. Each time a multiple of print_every is met or passed,
--- one message is logged, at level info, by whoever came there.
---@param print_every? integer|table from 1, 10 unless given; or a table of the
---  two: `{print_every=, print_message=}`
---@param print_message? string "Count: {}" unless given; `{}` or one
---  string.format directive stands for the count
---@return tidemill.counter
function tm.Counter(print_every, print_message) end

--- Adds to the count. Any state, at once with others.
---@param inc? integer 1 unless given; may be negative
function Counter:increment(inc) end

--- The count now.
---@return integer
function Counter:value() end

-- ---- the log and the clock -----------------------------------------------

--- Levels, the most urgent first. All but info lines begin with their level in
--- brackets.
---@alias tidemill.level "error"|"warning"|"info"|"debug"|"TODO"

--- Writes a line to the log, whole, from whichever worker; a text of several
--- lines becomes several. To stderr, unless a file or the host takes the log.
---@param msg any made a string by tostring
---@param level? tidemill.level "info" unless given
function tm.log(msg, level) end

--- Logs a line and indents what this state logs while the guard lives:
--- `local _ <close> = tm.sublog("reading")`.
---@param msg? any
---@param level? tidemill.level "info" unless given
---@return table guard
function tm.sublog(msg, level) end

--- Sets the level of all states: lines after it in the order of levels are not
--- written any more.
---@param level tidemill.level
---@return tidemill.level before
function tm.set_level(level) end

--- From now on the log of all states goes to the end of this file; nil: back to
--- where it went at first. A file that cannot be opened is an error.
---@param path? string
function tm.start_log_file(path) end

--- Seconds of a clock that never goes back, from some point in the past.
---@return number
function tm.clock() end

--- The CPUs that this process may use, and why that many.
---@class tidemill.cpus
---@field usable integer the least of those in the affinity mask and the cgroup
---  quota, rounded up; at least 1
---@field online integer in the machine
---@field affinity integer in this process's mask
---@field quota number CPUs' worth of time that the cgroup allows; 0: no limit
---@field why string in a few words, e.g. "2 in the affinity mask"
local cpus = {}

--- The CPUs that this process may use, as they were when the runtime began.
---@return tidemill.cpus
function tm.cpus() end

-- ---- settings ------------------------------------------------------------

--- The settings: the keys of the table that `config.lua` returns, fields of
--- `tm.config`, and options of `tm.configure`. Each can be overridden by an
--- environment variable, `TIDEMILL_` and the key in capitals.
---@class tidemill.config
---@field threads? integer|"auto" workers of the shared thread pool; "auto", the
---  default, is the CPUs that affinity and cgroup quota leave to this process
---@field processes? integer|"auto" workers of the shared process pool;
---  "auto", the default, is the same number
---@field cext_threads? integer threads that C libraries (BLAS, OpenMP) may use
---  in a worker; 1 unless set
---@field parallel? boolean whether there is parallelism at all; true unless set
---@field start_method? "auto"|"fork"|"spawn" of worker processes; "auto" unless
---  set
---@field worker_command? string|false path of the command tidemill, which
---  spawned worker processes run; unless set it is the running command itself,
---  the one beside the library or module, or where the library was told at
---  build time that it would be installed
---@field max_tasks_per_child? integer|false items after which a worker starts
---  again with a fresh state; no limit unless set
---@field max_memory_per_child? integer|string|false bytes of Lua memory after
---  which it does, or a size such as "512M"; no limit unless set
---@field pin? boolean|"auto" whether each worker gets a CPU of its own; "auto",
---  the default: when there are as many workers as CPUs and no quota binds
---@field log_level? tidemill.level "info" unless set
---@field log_file? string|false stderr unless set
---@field progress? boolean whether every map draws a progress line; false
---  unless set
---@field arena_size? integer|string|"auto" bytes of address space to reserve
---  for what workers share, or a size such as "4G"; "auto" unless set
local config = {}

--- Overrides settings; all of them, or none after an error, which names the
--- key, what is allowed and the nearest spelling. Call it in the script. Once a
--- pool was made, only log_level, log_file, progress and parallel may change.
---@param settings tidemill.config
function tm.configure(settings) end

return tm
