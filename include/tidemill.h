/*
 * tidemill.h: the runtime, for host programs
 *
 * tidemill runs Lua 5.4 driver scripts on every core of a machine. A host
 * links -ltidemill, makes a runtime, and opens it in a Lua state; scripts
 * then `require "tidemill"`. Nothing here needs lua.h.
 *
 * Conventions
 *   - A function that can fail returns TM_OK (0) or a negative TM_E...
 *     code; details go to the tm_error that the caller passes (it may be
 *     NULL).
 *   - The library prints nothing, never exits, installs no signal handler
 *     and changes no environment variable unless a flag below asks for it.
 *   - Unless its comment says otherwise, a function may be called from any
 *     thread, but not by two threads on one object at once.
 */
#ifndef TIDEMILL_H
#define TIDEMILL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TM_API __attribute__((visibility("default")))
#else
#define TM_API
#endif

/* Major, minor and patch of this header; tm_version() is the library's. */
#define TM_VERSION "0.1.0"

/* What a function answers. Codes are stable; the texts of errors are not. */
enum tm_status {
  TM_OK = 0,
  TM_ENOMEM = -1,     /* the allocator or the arena had no memory */
  TM_EINVAL = -2,     /* an argument makes no sense */
  TM_ESYS = -3,       /* the system refused a call; the text says which */
  TM_ECLOSED = -4,    /* the pool or the runtime is closed */
  TM_ETIMEOUT = -5,   /* the time given was up */
  TM_ECANCELLED = -6, /* the job was cancelled */
  TM_ENOKEY = -7,     /* the key was removed, or never was */
  TM_ELUA = -8        /* a Lua error; the text is its message */
};

/* An error, owned by the caller. text always ends in '\0'. */
typedef struct tm_error {
  int code; /* enum tm_status */
  char text[500];
} tm_error;

/* Levels of the log, most urgent first. */
enum tm_level {
  TM_LOG_ERROR = 1,
  TM_LOG_WARNING = 2,
  TM_LOG_INFO = 3,
  TM_LOG_DEBUG = 4,
  TM_LOG_TODO = 5
};

/*
 * An allocator: size 0 frees ptr and returns NULL; otherwise as realloc.
 * Called from every worker thread at once.
 */
typedef void *(*tm_alloc_fn)(void *user, void *ptr, size_t size);

/*
 * Takes one whole line of the log, without its newline. Called on whichever
 * thread logged, under the log's lock: it must not log.
 */
typedef void (*tm_log_fn)(void *user, int level, const char *line);

/* The runtime: one for each host, or for each main Lua state. */
typedef struct tm_runtime tm_runtime;

/* The library may handle SIGURG, by which worker threads are interrupted for
   time limits and cancellation. Without it, both act between items only. */
#define TM_USE_SIGNALS 1u

/* Scripts read config.lua and TIDEMILL_ variables as they do under the
   command, and may set the thread variables of C libraries (OMP_NUM_THREADS
   ...) in the environment. */
#define TM_USE_CONFIG 2u

/* What a host may set; begin with tm_config_init, which sets defaults. */
typedef struct tm_config {
  tm_alloc_fn alloc; /* NULL: realloc and free */
  void *alloc_user;
  tm_log_fn log; /* NULL: lines go to stderr */
  void *log_user;
  int threads;       /* workers of the shared thread pool; 0: usable CPUs */
  size_t arena_size; /* bytes of address space to reserve; 0: automatic */
  unsigned flags;    /* TM_USE_... */
} tm_config;

/* The version of the library, e.g. "0.1.0". A static string. */
TM_API const char *tm_version(void);

/* Sets every field of c to its default. */
TM_API void tm_config_init(tm_config *c);

/*
 * Makes a runtime and stores it in *out. c may be NULL for defaults.
 * Fails with TM_ENOMEM, TM_EINVAL or TM_ESYS; then *out is NULL.
 */
TM_API int tm_runtime_new(tm_runtime **out, const tm_config *c, tm_error *e);

/*
 * Closes the runtime: its pools are terminated and joined, its memory goes
 * back. Lua states that it was opened in may still be closed afterwards.
 * NULL is fine.
 */
TM_API void tm_runtime_free(tm_runtime *rt);

struct lua_State;

/*
 * Makes `require "tidemill"` work in L, on this runtime, and nothing else:
 * no global is set. L keeps a reference to rt until it closes. Call it on
 * the thread that runs L.
 */
TM_API int tm_open(tm_runtime *rt, struct lua_State *L, tm_error *e);

/*
 * Asks the script that waits in a pool's method to give up (request 1: it
 * gets an "interrupted" error), or takes that back (0). Answers the request
 * that was not yet seen, 0 or 1. Async-signal-safe, for a host's handler of
 * SIGINT; a script that computes is the host's to stop (lua_sethook).
 */
TM_API int tm_interrupt(tm_runtime *rt, int request);

struct tm_kernel;

/*
 * Registers a kernel of the host's (tidemill_kernel.h), which scripts find by
 * its name: tm.kernel(name). What k points to is copied; its functions must
 * stay until the runtime is freed. TM_EINVAL when the name is taken or the
 * signature does not parse: the error says where.
 */
TM_API int tm_kernel_register(tm_runtime *rt, const struct tm_kernel *k,
                              tm_error *e);

/* The opener of the Lua module of a Lua state that has no host, where the
   module makes the runtime: what `require "tidemill"` calls in lua5.4. */
TM_API int luaopen_tidemill(struct lua_State *L);
TM_API int luaopen_tidemill_core(struct lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
