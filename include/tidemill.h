/*
 * tidemill.h: the runtime, for host programs
 *
 * tidemill runs Lua 5.4 scripts and C kernels on every core of a machine. A
 * host program links -ltidemill, makes a runtime, and then does any of these:
 *
 *   - runs scripts, in Lua states that the library makes (tm_script_new) or
 *     in its own (tm_open); in both, `require "tidemill"` gives scripts pools
 *     of workers, shared arrays and the rest;
 *   - registers kernels, C functions that scripts and pools run on all cores
 *     (tm_kernel_register; tidemill_kernel.h, which this header includes, says
 *     how to write one);
 *   - makes arrays and hands over its own memory as arrays (tm_array_wrap),
 *     which scripts, kernels and the host see in place;
 *   - uses pools, jobs, the store and counters from C, with no Lua at all.
 *
 * A whole host:
 *
 *     #include <stdio.h>
 *     #include <tidemill.h>
 *
 *     int main(int argc, char **argv) {
 *       tm_runtime *rt = NULL;
 *       tm_script *script = NULL;
 *       tm_error e;
 *       int status = tm_runtime_new(&rt, NULL, &e);
 *       if (!status) status = tm_script_new(&script, rt, 0, &e);
 *       if (!status && argc > 1)
 *         status = tm_script_run_file(script, argv[1], NULL, 0, &e);
 *       if (status) fprintf(stderr, "%s\n", e.text);
 *       tm_script_free(script);
 *       tm_runtime_free(rt);
 *       return status != TM_OK;
 *     }
 *
 *     cc host.c $(pkg-config --cflags --libs tidemill)
 *
 * Conventions
 *   - A function that can fail returns TM_OK (0) or a negative TM_E... code.
 *     Its last parameter is a tm_error of the caller's, which is filled on
 *     failure only, and may be NULL.
 *   - What a function makes goes to its first parameter, which is set to NULL
 *     (or 0) on failure. Every tm_..._new has a tm_..._free, and free takes
 *     NULL. Objects may be freed in any order, the runtime before or after
 *     those that were made in it.
 *   - NULL where an object is needed, a bad number, a bad name, a closed
 *     runtime: all are answered with a code and a text, not with a crash. (An
 *     object that was freed must not be used.)
 *   - The library prints nothing, never exits, installs no signal handler
 *     and changes no environment variable unless a flag below asks for it.
 *   - Unless its comment says otherwise, a function may be called from any
 *     thread, also by several threads at once on one object; only freeing an
 *     object must not overlap with other uses of it.
 *   - Times are seconds. TM_FOREVER, or any negative number, is no limit.
 *   - Items and indices count from 0 here, from 1 in Lua.
 *   - A child made by fork must not use the objects of its parent.
 *   - dlclose leaves the shared library where it is: a thread that was left
 *     behind in C code may still return into it. A plugin that has the static
 *     library in it is linked with -Wl,-z,nodelete, or closed only when it
 *     has freed all that it made, none of it on a worker's thread, and nothing
 *     was left behind.
 *
 * The header is C99, C11, C17 and C++11, and needs no other library.
 */
#ifndef TIDEMILL_H
#define TIDEMILL_H

#include <stddef.h>
#include <stdint.h>

#include "tidemill_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TM_API __attribute__((visibility("default")))
#else
#define TM_API
#endif

/* ---- versions --------------------------------------------------------- */

/* Major, minor and patch of this header; tm_version() is the library's. */
#define TM_VERSION "0.1.0"

/*
 * The number of the binary interface that this header describes. A library
 * serves programs that were compiled for the same number; structs that a
 * program fills begin with their size, so that fields can be added at the end
 * without a new number. It is also the number in the library's soname.
 * tm_abi() is the library's.
 */
#define TM_ABI 0

/* The version of the library, e.g. "0.1.0". A static string. */
TM_API const char *tm_version(void);

/* TM_ABI of the library. A program that finds its library at run time
   compares it with its own. */
TM_API int tm_abi(void);

/* ---- errors ----------------------------------------------------------- */

/* What a function answers. Codes are stable; the texts of errors are not. */
enum tm_status {
  TM_OK = 0,
  TM_ENOMEM = -1,     /* the allocator or the arena had no memory */
  TM_EINVAL = -2,     /* an argument makes no sense; the text says which */
  TM_ESYS = -3,       /* the system refused a call; the text says which */
  TM_ECLOSED = -4,    /* the pool or the runtime is closed */
  TM_ETIMEOUT = -5,   /* the time given was up */
  TM_ECANCELLED = -6, /* the job was cancelled */
  TM_ENOKEY = -7,     /* the key was removed, or never was */
  TM_ELUA = -8,       /* a Lua error; the text is its message */
  TM_EKERNEL = -9,    /* a kernel failed an item; the text is its message */
  TM_EBUSY = -10,     /* not now: the object is in use, the job runs */
  TM_ETHREAD = -11,   /* not from here: this is an item of a worker's */
  TM_EDIED = -12      /* a worker process died; the text says how */
};

/* The name of a code, "TM_EINVAL"; "unknown status" for other numbers. A
   static string. */
TM_API const char *tm_status_name(int code);

/* An error, owned by the caller. text always ends in '\0'; a longer one is
   cut (tm_script_error has all of a script's). */
typedef struct tm_error {
  int code; /* enum tm_status */
  char text[500];
} tm_error;

#if defined(__GNUC__)
#define TM_PRINTF(m, n) __attribute__((format(printf, m, n)))
#else
#define TM_PRINTF(m, n)
#endif

/* Fills e, which may be NULL, with a code and a text as printf has it, and
   answers the code: for the functions of a host (tm_function_fn).
   return tm_error_set(e, TM_EINVAL, "no field '%s'", name); */
TM_API int tm_error_set(tm_error *e, int code, const char *format, ...)
    TM_PRINTF(3, 4);

/* A time without limit. */
#define TM_FOREVER (-1.0)

/* ---- the runtime ------------------------------------------------------ */

/*
 * What everything hangs from. A program may have several at once, which share
 * nothing; usually it has one.
 */
typedef struct tm_runtime tm_runtime;

struct lua_State;

/*
 * An allocator: size 0 frees ptr (which may be NULL) and returns NULL;
 * otherwise as realloc. Called from every worker thread at once. All memory
 * of the runtime comes from it, that of Lua states too, but for the elements
 * of arrays and what is in the store: these are in shared memory (the arena).
 */
typedef void *(*tm_alloc_fn)(void *user, void *ptr, size_t size);

/* Levels of the log, most urgent first. */
enum tm_level {
  TM_LOG_ERROR = 1,
  TM_LOG_WARNING = 2,
  TM_LOG_INFO = 3,
  TM_LOG_DEBUG = 4,
  TM_LOG_TODO = 5
};

/*
 * Takes one whole line of the log, without its newline. Called on whichever
 * thread logged, under the log's lock: it must not call the library.
 */
typedef void (*tm_log_fn)(void *user, int level, const char *line);

/*
 * Prepares a Lua state that the library has made: a script's
 * (tm_script_new), or that of a worker thread. The standard libraries are
 * open and `require "tidemill"` works; it adds the host's own libraries
 * (luaL_requiref) and global C functions, so that the functions that scripts
 * send to workers find them there. Called
 * on the state's own thread, for several workers at once, in protected mode:
 * a Lua error in it is an error of tm_script_new, or of every item that such a
 * worker runs. Workers in processes that were spawned do not call it: they
 * are another program.
 */
typedef void (*tm_state_fn)(void *user, struct lua_State *L);

/* How worker processes are started. */
enum tm_start_method {
  TM_START_AUTO, /* fork, unless the program has threads of its own */
  TM_START_FORK, /* a copy of this process */
  TM_START_SPAWN /* the command `tidemill`, in its worker mode */
};

/* Flags of a runtime. */

/* The library may handle SIGURG, by which worker threads are interrupted for
   time limits and cancellation. Without it, both act between items only. */
#define TM_USE_SIGNALS 1u

/* Scripts read config.lua and TIDEMILL_ variables as they do under the
   command, and may set the thread variables of C libraries (OMP_NUM_THREADS
   ...) in the environment. */
#define TM_USE_CONFIG 2u

/* Lines of the log go to stderr when there is no log callback. */
#define TM_USE_STDERR 4u

/*
 * What a host may set. Begin with tm_config_init, which sets defaults, then
 * change what you like. Strings are copied by tm_runtime_new.
 */
typedef struct tm_config {
  size_t struct_size; /* set by tm_config_init */
  tm_alloc_fn alloc;  /* NULL: realloc and free */
  void *alloc_user;
  tm_log_fn log; /* NULL: lines are dropped (but see TM_USE_STDERR) */
  void *log_user;
  tm_state_fn on_state; /* NULL: nothing more is done */
  void *on_state_user;
  int threads;         /* workers of a thread pool; 0: the usable CPUs */
  int processes;       /* workers of a process pool; 0: the usable CPUs */
  int start_method;    /* enum tm_start_method */
  unsigned flags;      /* TM_USE_... */
  const char *command; /* the command `tidemill` of this version, for
                          TM_START_SPAWN: a path, or a name to look for in
                          PATH. NULL: the one in the library's folder, else
                          where `make install` puts it. It knows nothing of
                          the host: lines of its log go to stderr */
  size_t arena_size;   /* bytes of address space to reserve for arrays and
                          the store; 0: as much as the machine has memory, in
                          valgrind at most 256 MiB */
} tm_config;

/* Sets the first `size` bytes of a config, which are all that the caller
   knows of it, to defaults. */
TM_API void tm_config_init_sized(tm_config *c, size_t size);

/* Sets every field to its default. */
static inline void tm_config_init(tm_config *c) {
  tm_config_init_sized(c, sizeof *c);
}

/*
 * Makes a runtime. c may be NULL for defaults. It starts no thread; pools do.
 * Fails with TM_ENOMEM, TM_EINVAL (a config that tm_config_init was not called
 * for, a number out of range, an unknown flag) or TM_ESYS.
 */
TM_API int tm_runtime_new(tm_runtime **out, const tm_config *c, tm_error *e);

/*
 * Closes the runtime: its pools, and the thread pools of its scripts, are
 * terminated and joined; a kernel that runs is told (c->cancelled) and, when it
 * does not return within a second, left behind. From then on, what would begin
 * or change something in the runtime, or ask the runtime itself (the store,
 * counters, settings, globals of scripts), answers TM_ECLOSED. What the host
 * has of it can still be asked: arrays and their memory, what scripts and jobs
 * left (tm_script_result, tm_script_error, tm_job_...), tm_store_count,
 * tm_pool_workers. Callbacks of jobs can still be called (tm_poll, and tm_fd if
 * there was one), and all of it freed. Safe at any time, also while other
 * threads use the runtime, and more than once. A script that another thread
 * runs is not stopped, but what it waits for is. TM_ETHREAD in a kernel or an
 * item of the runtime's, on a worker's thread or on that of who waits for it:
 * nothing was done.
 */
TM_API int tm_runtime_close(tm_runtime *rt, tm_error *e);

/*
 * Closes the runtime and gives it up: rt must not be used any more. Callbacks
 * that tm_poll has not called by then are not called. What was made in it may
 * still be freed, Lua states that it was opened in may still be closed; its
 * memory goes with the last of these. May be called on any thread, a worker's
 * too (the workers are then joined in the background). NULL is fine.
 */
TM_API void tm_runtime_free(tm_runtime *rt);

/*
 * Asks the script that waits in a pool's method to give up (request 1: it
 * gets an "interrupted" error), or takes that back (0). Answers the request
 * that was not yet seen, 0 or 1. Of several scripts that wait the first to look
 * gets it; when none waits, the next one that does. It is seen within a tenth
 * of a second; the error comes when the items that run have unwound, without
 * TM_USE_SIGNALS at their ends, but after two seconds at the latest.
 * Async-signal-safe, for a host's handler of SIGINT. A script that computes is
 * stopped by tm_script_stop, or by the host (lua_sethook).
 */
TM_API int tm_interrupt(tm_runtime *rt, int request);

/* Writes text, of one or more lines, to the runtime's log. */
TM_API int tm_log(tm_runtime *rt, int level, const char *text, tm_error *e);

/* ---- values ----------------------------------------------------------- */

/* An array: a typed block of memory (below). */
typedef struct tm_array tm_array;

/* The key of an object or a counter in the store (below) of one runtime: in
   another it means nothing, or something else. 0 is none. */
typedef uint64_t tm_key;

/* What a value is (tm_value.type). */
enum tm_type {
  TM_NIL,
  TM_BOOLEAN,
  TM_INTEGER,
  TM_NUMBER,
  TM_STRING,
  TM_ARRAY,
  TM_KEY,
  TM_OTHER /* a table, a function ...: it stays in Lua, and is only answered,
              never taken (TM_EINVAL). as.string has the name of its type */
};

/*
 * A simple value, as scripts and kernels take and give them. It owns nothing:
 * strings and arrays belong to whoever the comment of the function says. A
 * string may have zeros in it; those that the library gives end in a '\0' that
 * len does not count.
 */
typedef struct tm_value {
  int type; /* enum tm_type: which of these it is */
  union {
    int boolean;
    int64_t integer;
    double number;
    struct {
      const char *text;
      size_t len;
    } string;
    tm_array *array;
    tm_key key;
  } as;
} tm_value;

/* No value. */
static inline tm_value tm_nil(void) {
  tm_value v;
  v.type = TM_NIL;
  v.as.integer = 0;
  return v;
}

/* true for any b but 0. */
static inline tm_value tm_boolean(int b) {
  tm_value v;
  v.type = TM_BOOLEAN;
  v.as.boolean = b != 0;
  return v;
}

/* A Lua integer. */
static inline tm_value tm_integer(int64_t i) {
  tm_value v;
  v.type = TM_INTEGER;
  v.as.integer = i;
  return v;
}

/* A Lua float. */
static inline tm_value tm_number(double x) {
  tm_value v;
  v.type = TM_NUMBER;
  v.as.number = x;
  return v;
}

/* len bytes, which may be any. */
static inline tm_value tm_bytes(const char *text, size_t len) {
  tm_value v;
  v.type = TM_STRING;
  v.as.string.text = text;
  v.as.string.len = len;
  return v;
}

/* A string that ends in '\0'. */
static inline tm_value tm_string(const char *text) {
  size_t len = 0;
  while (text[len]) len++;
  return tm_bytes(text, len);
}

/* The same array: no reference is taken. */
static inline tm_value tm_array_value(tm_array *a) {
  tm_value v;
  v.type = TM_ARRAY;
  v.as.array = a;
  return v;
}

/* The key of a stored object: no count is taken. */
static inline tm_value tm_key_value(tm_key key) {
  tm_value v;
  v.type = TM_KEY;
  v.as.key = key;
  return v;
}

/* ---- settings --------------------------------------------------------- */

/*
 * Settings of a runtime, by the names that scripts know (tm.config,
 * tm.configure, config.lua):
 *
 *   threads, processes   number of workers of pools made from now on
 *   start_method         "auto", "fork" or "spawn"
 *   pin                  whether each worker thread gets a CPU of its own:
 *                        true, false, or "auto"
 *   log_level            "error", "warning", "info", "debug" or "TODO"
 *   log_file             path; nil: the log callback, or stderr, again
 *   arena_size           bytes; while nothing is stored yet
 *
 * get's strings are the library's, static or until the setting is set again.
 * set copies. TM_EINVAL names the setting and what is allowed.
 */
TM_API int tm_setting_get(tm_runtime *rt, const char *name, tm_value *out,
                          tm_error *e);
TM_API int tm_setting_set(tm_runtime *rt, const char *name, tm_value value,
                          tm_error *e);

/* ---- scripts ---------------------------------------------------------- */

/*
 * A Lua state of the library's making, with the standard libraries and with
 * `require "tidemill"` at hand; its `print` writes to stdout, as always.
 *
 * Any thread may use a script, but one at a time: while another does, or from
 * a function that the script itself has called, the answer is TM_EBUSY, with
 * its text in the caller's tm_error.
 *
 * What is wrong with what the host gives is not an error of the script's, and
 * nothing was run: TM_EINVAL for a value without a known type, a TM_OTHER, an
 * array that is NULL or of another runtime, NULL with a length, a key that is
 * not of an object or a counter, a name that is empty or has an empty part
 * ("", ".x", "a..b"); TM_ENOKEY for a key that was removed. TM_ENOMEM is want
 * of memory wherever it was met; TM_ECLOSED says that the runtime is closed.
 */
typedef struct tm_script tm_script;

/* tm_script_stop works. Costs about twice the time in the script's own Lua
   code (not in workers, nor in C). */
#define TM_SCRIPT_STOPPABLE 1u

/* Makes one; flags are TM_SCRIPT_... or 0. TM_ENOMEM; TM_ELUA from on_state. */
TM_API int tm_script_new(tm_script **out, tm_runtime *rt, unsigned flags,
                         tm_error *e);

/* Ends the Lua state, and the pools that it made with tm.Pool. That of
   tm.thread_pool() is the runtime's, for its other scripts too, and ends with
   it; so is that of tm.process_pool(), but for workers that were forked from
   this script: these end, and who asks next has others. */
TM_API void tm_script_free(tm_script *s);

/*
 * Each of these runs Lua code to its end, with args as its arguments (`...`).
 * args, and strings and arrays in it, are the caller's; arrays are seen in
 * place by the script. What the code returns can be had from tm_script_result.
 *
 * run_string: `code` is the text of a chunk; `name` stands for it in messages
 * (NULL: "host").
 * call: `function` is the name of a global function, or a path of fields
 * ("model.step").
 *
 * TM_ELUA: it does not compile, raised an error or was stopped, or there is no
 * such function; e->text begins with the message, then the traceback as far as
 * it fits. TM_ESYS: the file cannot be read (a folder, for instance).
 * TM_EINVAL, TM_ENOKEY, TM_EBUSY, TM_ECLOSED, TM_ENOMEM: as above.
 */
TM_API int tm_script_run_file(tm_script *s, const char *path,
                              const tm_value *args, int nargs, tm_error *e);
TM_API int tm_script_run_string(tm_script *s, const char *code,
                                const char *name, const tm_value *args,
                                int nargs, tm_error *e);
TM_API int tm_script_call(tm_script *s, const char *function,
                          const tm_value *args, int nargs, tm_error *e);

/*
 * What the last run or call returned: how many values, and the value number i
 * (from 0; nil when there are not so many). Strings and arrays are the
 * script's: they are there until its next run, call or free. tm_array_retain
 * keeps an array for longer. These two and tm_script_error are for the thread
 * that ran the script: they must not overlap with a use of it by another, so
 * not after TM_EBUSY.
 */
TM_API int tm_script_results(tm_script *s);
TM_API tm_value tm_script_result(tm_script *s, int i);

/*
 * The text of the script's last error in full, with the traceback; "" when what
 * was last done with it went well. len (may be NULL) gets its length. It is
 * there until the script's next run, call or free.
 */
TM_API const char *tm_script_error(tm_script *s, size_t *len);

/*
 * Reads or sets a global, or a field by its path ("params.dt"; the tables on
 * the way must be there). A string or array that get answers is there until
 * the script's next get, run, call or free. TM_ELUA when a table on the way is
 * missing, or a metamethod raised an error; TM_EINVAL, TM_ENOKEY, TM_EBUSY,
 * TM_ECLOSED, TM_ENOMEM as above.
 */
TM_API int tm_script_get(tm_script *s, const char *name, tm_value *out,
                         tm_error *e);
TM_API int tm_script_set(tm_script *s, const char *name, tm_value value,
                         tm_error *e);

/*
 * A function of the host's that scripts call. It gets the arguments, which are
 * there until it returns, writes at most `most` results (16 or more), and
 * answers how many; or a negative TM_E... code with a text in e, which is then
 * raised in the script; so is what is wrong with a result. Strings in results
 * are copied and arrays referenced at once when it returns. It runs on the
 * thread that runs the script.
 */
typedef int (*tm_function_fn)(void *user, const tm_value *args, int nargs,
                              tm_value *results, int most, tm_error *e);

/* Sets a global, or a field by its path, to a function. `user` is the host's,
   and must be there for as long as the script. Workers do not have it: give
   them functions by on_state. */
TM_API int tm_script_set_function(tm_script *s, const char *name,
                                  tm_function_fn fn, void *user, tm_error *e);

/*
 * Stops the script that another thread runs: it gets an error "stopped", or
 * "interrupted" when it waits for a pool. Code that catches it gets it again:
 * at each instruction, when __close handlers have had 50 ms. The run, call or
 * poll answers TM_ELUA in any case. Any thread; async-signal-safe.
 * Needs TM_SCRIPT_STOPPABLE, else TM_EINVAL. When the script does not run, the
 * next run, call or poll is stopped. C code that the script calls is not
 * interrupted. (Without the flag, tm_interrupt ends waits.)
 */
TM_API int tm_script_stop(tm_script *s);

/*
 * Runs the callbacks of the script's own jobs (pool:map_async and so on) that
 * have ended, as tm.poll() in the script does; *count (may be NULL) says how
 * many, also when one raised an error: TM_ELUA, and the others were called all
 * the same. (Further errors are those of the next calls.) tm_script_fd answers
 * a file descriptor that is readable while there are some to run (the script's,
 * not to be closed), or a negative TM_E... code. TM_EBUSY, TM_ECLOSED,
 * TM_ENOMEM as above: a script's callbacks are Lua, and no longer run when the
 * runtime is closed.
 */
TM_API int tm_script_poll(tm_script *s, int *count, tm_error *e);
TM_API int tm_script_fd(tm_script *s);

/* The Lua state, for hosts that use lua.h. */
TM_API struct lua_State *tm_script_state(tm_script *s);

/* ---- Lua states of the host ------------------------------------------- */

/*
 * Makes `require "tidemill"` work in L, on this runtime, and nothing else:
 * no global is set. L keeps the runtime until it closes. Call it on the
 * thread that runs L, after the host's own libraries were opened in it; give
 * workers the same ones by tm_config.on_state, which is not called for L.
 * TM_EINVAL when L has it already. A host that includes lua.h is compiled with
 * `pkg-config --cflags --libs tidemill lua5.4`.
 */
TM_API int tm_open(tm_runtime *rt, struct lua_State *L, tm_error *e);

/*
 * Makes an empty Lua state, as lua_newstate does: without libraries, panic
 * function or warnings. Its memory comes from the runtime's allocator; small
 * objects lie in blocks of the state's own, which is faster than luaL_newstate
 * where a script makes many, and in the workers that are forked from it. End it
 * with lua_close. NULL without memory, or when the runtime is closed.
 */
TM_API struct lua_State *tm_lua_new(tm_runtime *rt);

/*
 * Pushes a value on the stack of a state that tidemill is open in; an array is
 * seen in place. And the value at an index of the stack: a string is Lua's,
 * and there while it is on the stack; an array is a new reference, which the
 * caller gives back with tm_array_release. An index where nothing is answers
 * TM_NIL. Neither raises a Lua error. push answers TM_EINVAL and TM_ENOKEY as
 * scripts do; both TM_EINVAL when tidemill is not open in L, TM_ECLOSED and
 * TM_ENOMEM.
 */
TM_API int tm_lua_push(struct lua_State *L, tm_value value, tm_error *e);
TM_API int tm_lua_get(struct lua_State *L, int index, tm_value *out,
                      tm_error *e);

/* ---- kernels ---------------------------------------------------------- */

/* tm_kernel_register, of a struct of which the caller knows `size` bytes. */
TM_API int tm_kernel_register_sized(tm_runtime *rt, const tm_kernel *k,
                                    size_t size, tm_error *e);

/*
 * Registers a kernel (tidemill_kernel.h), which scripts find as
 * tm.kernel(name) and pools run by name. What k points to is copied; its
 * functions must stay until the runtime is freed. TM_EINVAL when the name is
 * taken or the signature does not parse: the error says where.
 *
 *     static const tm_kernel kernels[] = {
 *         TM_RANGE(axpy, "f64[#] y, const f64[#] x, f64 s")};
 *     tm_kernel_register(rt, &kernels[0], &e);
 *
 * What a script gets from pool:run of one that reduces is a number, or a table
 * of numbers from 1 when the reduction has several elements.
 */
static inline int tm_kernel_register(tm_runtime *rt, const tm_kernel *k,
                                     tm_error *e) {
  return tm_kernel_register_sized(rt, k, sizeof *k, e);
}

/* Loads a shared library of kernels and registers them all, by their names.
   Worker processes find them by the path, those that were there before too:
   one that begins with a slash means the same in every folder. TM_ESYS when
   it does not load, TM_EINVAL when it is not one of kernels or a name is
   taken (as after the same call before); none is then registered. */
TM_API int tm_kernel_load(tm_runtime *rt, const char *path, tm_error *e);

/* ---- arrays ----------------------------------------------------------- */

/*
 * A typed block of numbers, in C order (the last index fastest), of up to
 * eight dimensions. The host, scripts and kernels see one memory: what one
 * writes, all read. Their order is the caller's to see to, by the ends of jobs
 * for instance. A tm_array is one view of it, counted: it begins with one
 * reference, and the memory goes with the last who has it, in C or in Lua.
 */

/* A new array of zeros, in memory that every worker sees. dtype is an enum
   tm_dtype (TM_F64 ...), shape has `rank` extents of 0 or more. TM_ENOMEM says
   what there is. */
TM_API int tm_array_new(tm_array **out, tm_runtime *rt, int dtype, int rank,
                        const int64_t *shape, tm_error *e);

/*
 * Called once when nobody uses the memory of a wrapped array any more: every
 * reference was released, no script, worker or job has it, or the runtime has
 * gone. On whichever thread was the last; it must not wait for the library.
 * What garbage of a script has waits for that script's collector. A worker
 * collects before it sleeps: soon after the job, when there is no other.
 */
typedef void (*tm_release_fn)(void *user, void *data);

/* Scripts and kernels may not write to it. */
#define TM_ARRAY_READONLY 1u

/*
 * An array of the host's own memory, which stays where it is: `data` is
 * aligned to its element and holds the whole shape in C order. It must be
 * there until release (which may be NULL) is called; the release is not called
 * when this function fails. Scripts and worker threads see it in place. Worker
 * processes do not: sending it to one is an error that says so (make it with
 * tm_array_new, or copy it, a:copy() in Lua). flags: TM_ARRAY_... or 0.
 */
TM_API int tm_array_wrap(tm_array **out, tm_runtime *rt, void *data, int dtype,
                         int rank, const int64_t *shape, unsigned flags,
                         tm_release_fn release, void *user, tm_error *e);

/* One reference more, which is answered; one less. NULL is fine. */
TM_API tm_array *tm_array_retain(tm_array *a);
TM_API void tm_array_release(tm_array *a);

/* What it is. For NULL all are NULL, 0 or -1 (dtype). The shape is the
   array's. size is elements, bytes is size times the size of one. The memory
   of a read-only array (a file, say) may not even be writable. */
TM_API void *tm_array_data(const tm_array *a);
TM_API int tm_array_dtype(const tm_array *a);
TM_API int tm_array_rank(const tm_array *a);
TM_API const int64_t *tm_array_shape(const tm_array *a);
TM_API int64_t tm_array_size(const tm_array *a);
TM_API size_t tm_array_bytes(const tm_array *a);
TM_API int tm_array_readonly(const tm_array *a);

/* ---- pools ------------------------------------------------------------ */

/* Workers that run kernels and functions of the host. */
typedef struct tm_pool tm_pool;

/* Where the workers of a pool are. */
enum tm_pool_kind {
  TM_POOL_THREAD,  /* threads of this process */
  TM_POOL_PROCESS, /* processes, as tm_config.start_method starts them: for
                      registered kernels, on arrays of tm_array_new. One that
                      dies fails its items (TM_EDIED) and is replaced. All
                      have the kernels of libraries (tm_kernel_load); forked
                      ones also those that were registered before the pool.
                      How one died is not known (nor is anything else amiss)
                      where the program ignores SIGCHLD or waits for it */
  TM_POOL_FAKE     /* none: whoever asks does the work, in order */
};

/* Whether worker threads stay on CPUs. */
enum tm_pin {
  TM_PIN_AUTO, /* when there are as many workers as CPUs */
  TM_PIN_NO,   /* workers run wherever the system likes */
  TM_PIN_YES   /* each worker thread stays on a CPU of its own */
};

/* Begin with tm_pool_options_init. */
typedef struct tm_pool_options {
  size_t struct_size; /* set by tm_pool_options_init */
  int kind;           /* enum tm_pool_kind */
  int workers;        /* 0: as the runtime's config says */
  int pin;            /* enum tm_pin */
} tm_pool_options;

/* As tm_config_init_sized, and tm_config_init. */
TM_API void tm_pool_options_init_sized(tm_pool_options *o, size_t size);

static inline void tm_pool_options_init(tm_pool_options *o) {
  tm_pool_options_init_sized(o, sizeof *o);
}

/* Makes a pool and starts its workers. options may be NULL: threads.
   TM_ENOMEM, TM_EINVAL, TM_ESYS (no more threads), TM_ECLOSED. */
TM_API int tm_pool_new(tm_pool **out, tm_runtime *rt,
                       const tm_pool_options *options, tm_error *e);

/* How many workers it has (1 for a fake pool); 0 for NULL. */
TM_API int tm_pool_workers(const tm_pool *p);

/* close: no more jobs; those that were given are done. terminate: the jobs are
   cancelled. Both return at once, and may be called again. */
TM_API int tm_pool_close(tm_pool *p, tm_error *e);
TM_API int tm_pool_terminate(tm_pool *p, tm_error *e);

/*
 * Waits for the workers of a closed or terminated pool to end, for so many
 * seconds. TM_ETIMEOUT; TM_EINVAL when the pool is open; TM_ETHREAD in one of
 * its own items, whichever thread runs it. A worker that does not return from a
 * kernel within a second of terminate is left behind.
 */
TM_API int tm_pool_join(tm_pool *p, double timeout, tm_error *e);

/* Terminates and joins the pool, unless that was done, and gives it up.
   Its jobs may still be asked and freed. */
TM_API void tm_pool_free(tm_pool *p);

/* ---- jobs of pools ---------------------------------------------------- */

/* A call of a pool that runs by itself. */
typedef struct tm_job tm_job;

/* Called by tm_poll when a job has ended; `user` as the options had it. It may
   free the job, unless another has it too. */
typedef void (*tm_done_fn)(void *user, tm_job *job);

/* Options of a run or a map; begin with tm_run_options_init. */
typedef struct tm_run_options {
  size_t struct_size; /* set by tm_run_options_init */
  int64_t first;      /* the number of the first item; 0 */
  int64_t chunk;      /* items that are claimed at once; 0: measured */
  double timeout;     /* for all of it; 0 or less: none. Acts between calls of
                         the kernel, and through c->cancelled */
  const char *name;   /* of a map, in messages; NULL: "map" */
  tm_done_fn done;    /* of a job: called by tm_poll. NULL: none */
  void *done_user;
} tm_run_options;

/* As tm_config_init_sized, and tm_config_init. */
TM_API void tm_run_options_init_sized(tm_run_options *o, size_t size);

static inline void tm_run_options_init(tm_run_options *o) {
  tm_run_options_init_sized(o, sizeof *o);
}

/*
 * Runs a registered kernel over n items, on the pool's workers and on the
 * calling thread, and returns when all is done. args are the nargs arguments,
 * as the kernel's signature has them: integers, numbers, arrays. They are
 * checked before anything runs: TM_EINVAL names the argument.
 *
 * result: for a kernel that reduces, where the reduction goes: its elements,
 * double or int64_t, `result_size` bytes exactly. NULL and 0 otherwise, or
 * when it is not wanted.
 *
 * TM_EKERNEL: the kernel failed an item; the text has its number and message.
 * All items below it were done. TM_ETIMEOUT, TM_ECLOSED, TM_ENOMEM;
 * TM_ECANCELLED when the pool was terminated or the runtime closed meanwhile.
 *
 *     tm_value args[] = {tm_array_value(y), tm_array_value(x), tm_number(0.5)};
 *     tm_pool_run(pool, "axpy", n, args, 3, NULL, 0, NULL, &e);
 */
TM_API int tm_pool_run(tm_pool *p, const char *kernel, int64_t n,
                       const tm_value *args, int nargs, void *result,
                       size_t result_size, const tm_run_options *options,
                       tm_error *e);

/*
 * A function that does one item of a map, number c->first, on some worker.
 * in and out are the item's own elements (NULL when the map has none). c is
 * what a kernel gets: c->worker, c->fail, c->cancelled. Answers 0, or non-zero
 * when the item failed (return c->fail(c, c->first, "...")).
 */
typedef int (*tm_item_fn)(const tm_call *c, const void *in, void *out,
                          void *user);

/*
 * Calls a function for each of n items: item i reads in_size bytes at in +
 * i * in_size, and writes out_size bytes at out + i * out_size. in and out may
 * be NULL with size 0. `first` in the options changes the numbers alone. The
 * same errors as tm_pool_run.
 */
TM_API int tm_pool_map(tm_pool *p, tm_item_fn fn, void *user, int64_t n,
                       const void *in, size_t in_size, void *out,
                       size_t out_size, const tm_run_options *options,
                       tm_error *e);

/*
 * The same, without waiting: the job goes on by itself (that of a fake pool is
 * done when the function returns). Arguments are copied, arrays are kept; the
 * memory that a map reads and writes, and `user`, must be there until the job
 * is done. Free the job with tm_job_free.
 */
TM_API int tm_pool_run_async(tm_job **job, tm_pool *p, const char *kernel,
                             int64_t n, const tm_value *args, int nargs,
                             const tm_run_options *options, tm_error *e);
TM_API int tm_pool_map_async(tm_job **job, tm_pool *p, tm_item_fn fn,
                             void *user, int64_t n, const void *in,
                             size_t in_size, void *out, size_t out_size,
                             const tm_run_options *options, tm_error *e);

/* Waits until the job is done, for so many seconds: TM_OK or TM_ETIMEOUT. A
   kernel may wait for a job of its own pool: its worker helps. */
TM_API int tm_job_wait(tm_job *job, double timeout);

/* 1 when the job is done, 0 when it is not (and for NULL). Does not wait. */
TM_API int tm_job_poll(const tm_job *job);

/* Stops the job: items that nobody has begun are skipped, kernels that ask
   (c->cancelled) are told. It is done soon after. TM_OK, also when it was done
   already. */
TM_API int tm_job_cancel(tm_job *job);

/*
 * What became of it: TM_EBUSY while it is not done, then what the function
 * without _async would have answered, or TM_ECANCELLED. The reduction goes to
 * result as there. May be asked again.
 */
TM_API int tm_job_result(tm_job *job, void *result, size_t result_size,
                         tm_error *e);

/* The same without a result: the code, and the text in e. */
TM_API int tm_job_error(tm_job *job, tm_error *e);

/* The lowest item that failed; -1 when none did. */
TM_API int64_t tm_job_failed_item(const tm_job *job);

/* How much of it is done, from 0 to 1. */
TM_API double tm_job_progress(const tm_job *job);

/* Gives the job up. One that is not done goes on, and its callback is called
   by tm_poll all the same, with this job, which is gone after it. */
TM_API void tm_job_free(tm_job *job);

/* ---- event loops ------------------------------------------------------ */

/*
 * A file descriptor that is readable while jobs of the runtime's pools have
 * ended that tm_poll has not seen: to be put into poll(2), epoll, libuv, GLib
 * ... It is made by the first call, and is the runtime's: do not read, write or
 * close it. From then on every job is reported, also one without a callback;
 * whoever asks for it calls tm_poll when it is readable, and finds the jobs
 * done when that returns. Once made it is answered, and told, until the runtime
 * is freed, also after it was closed. A negative TM_E... code on failure:
 * TM_ECLOSED when it was not made before, TM_ENOMEM, TM_ESYS. (The jobs of
 * scripts have one each: tm_script_fd, and tm.fileno() in Lua.)
 */
TM_API int tm_fd(tm_runtime *rt);

/*
 * Calls the callbacks of jobs that have ended, on this thread, and answers how
 * many jobs there were; a negative TM_E... code on failure. They are called
 * here and nowhere else.
 */
TM_API int tm_poll(tm_runtime *rt);

/* ---- the store -------------------------------------------------------- */

/*
 * Objects by key, which the host, scripts and workers share. For C an object
 * is bytes; for Lua it is a string. A key goes to scripts as a value of type
 * TM_KEY, where tm.glob_read(key) reads it and tm.glob_update(key, "...") puts
 * another in its place. A key is never used again. Objects that scripts store
 * can be read here when they are strings (TM_EINVAL otherwise).
 */

/* Stores a copy of len bytes under a new key. TM_ENOMEM: the arena is full. */
TM_API int tm_store_put(tm_key *out, tm_runtime *rt, const void *bytes,
                        size_t len, tm_error *e);

/*
 * Reads an object: *len (may be NULL) gets its length, buffer its bytes, when
 * `size` is enough for all; else TM_EINVAL, and nothing is copied. A buffer of
 * NULL asks for the length alone. TM_ENOKEY when it was removed.
 */
TM_API int tm_store_get(tm_runtime *rt, tm_key key, void *buffer, size_t size,
                        size_t *len, tm_error *e);

/* Puts other bytes in its place; tasks that are submitted from now on see
   them. TM_ENOKEY. */
TM_API int tm_store_update(tm_runtime *rt, tm_key key, const void *bytes,
                           size_t len, tm_error *e);

/* Removes an object or a counter. TM_ENOKEY when it is gone. */
TM_API int tm_store_remove(tm_runtime *rt, tm_key key, tm_error *e);

/* How many things are stored, arrays among them. */
TM_API size_t tm_store_count(tm_runtime *rt);

/*
 * A count that all threads, scripts and workers share; it begins at 0. In Lua
 * it is a tm.Counter that logs nothing. add answers the new value in *value
 * (may be NULL); 0 reads it. It wraps at the ends of int64_t. tm_store_remove
 * ends it.
 */
TM_API int tm_counter_new(tm_key *out, tm_runtime *rt, tm_error *e);
TM_API int tm_counter_add(tm_runtime *rt, tm_key key, int64_t inc,
                          int64_t *value, tm_error *e);

/* ---- the Lua module --------------------------------------------------- */

/* What `main` of the command returns when its first argument is "--worker":
   the process is a worker, started by the library of another. Not for
   hosts. */
TM_API int tm_worker_main(int argc, char **argv);

/* The opener of the Lua module of a Lua state that has no host, where the
   module makes the runtime: what `require "tidemill"` calls in lua5.4. Hosts
   use tm_open. */
TM_API int luaopen_tidemill(struct lua_State *L);
TM_API int luaopen_tidemill_core(struct lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
