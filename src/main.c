/*
 * main.c: the command `tidemill`, a host on the public header alone
 *
 * It makes a runtime and a Lua state and hands both to lua/tidemill/cli.lua,
 * which is the rest of it.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidemill.h"

/* What the handler of SIGINT needs. */
static lua_State *volatile script;
static tm_runtime *volatile runtime;

/* Whether what runs was called by tidemill's own Lua. */
static bool in_tidemill(lua_State *L) {
  static const char ours[] = "=tidemill.";
  lua_Debug ar;
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "S", &ar);
    if (strcmp(ar.what, "C") != 0)
      return strncmp(ar.source, ours, sizeof ours - 1) == 0;
  }
  return false;
}

/* While tidemill's own Lua runs, the hook stays: the wait that follows sees
   the request and makes an error of it that says how far the job was. */
static void stop(lua_State *L, lua_Debug *ar) {
  (void)ar;
  if (in_tidemill(L)) return;
  lua_sethook(L, NULL, 0, 0);
  tm_interrupt(runtime, 0);
  luaL_error(L, "interrupted!");
}

/* As lua.c: a script that computes is stopped by a hook; one that waits in a
   pool's method is told by the runtime. A Ctrl-C while the last is not yet
   seen ends the command. */
static void on_interrupt(int number) {
  if (runtime && tm_interrupt(runtime, 1)) {
    signal(number, SIG_DFL);
    raise(number);
  }
  if (script)
    lua_sethook(script, stop,
                LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static void handle_interrupts(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_interrupt; /* no SA_RESTART: waits are cut short */
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
}

typedef struct arguments {
  int count;
  char **list;
  int status;
} arguments;

static void push_host(lua_State *L) {
  lua_newtable(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "tidemill.core");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "isatty");
  lua_setfield(L, -3, "isatty");
  lua_setfield(L, -2, "core");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "tidemill.settings");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "start");
  lua_setfield(L, -3, "configure");
  lua_pop(L, 1);
}

/* Whether -E is among the options: it must be known before the libraries are
   opened, which read LUA_PATH (lua.c does the same). */
static bool ignores_environment(const arguments *a) {
  for (int i = 1; i < a->count && a->list[i][0] == '-'; i++) {
    const char *option = a->list[i];
    if (strcmp(option, "-E") == 0) return true;
    if (strcmp(option, "-") == 0 || strcmp(option, "--") == 0) return false;
    if ((option[1] == 'e' || option[1] == 'l') && option[2] == '\0') i++;
  }
  return false;
}

static int run(lua_State *L) {
  arguments *a = lua_touserdata(L, 1);
  if (ignores_environment(a)) {
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  tm_error e;
  if (tm_open(runtime, L, &e)) return luaL_error(L, "%s", e.text);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "tidemill.cli");
  lua_call(L, 1, 1);
  lua_createtable(L, a->count, 1);
  for (int i = 0; i < a->count; i++) {
    lua_pushstring(L, a->list[i]);
    lua_rawseti(L, -2, i);
  }
  push_host(L);
  lua_call(L, 2, 1);
  a->status = (int)lua_tointeger(L, -1);
  return 0;
}

/* What `warn` says, as lauxlib.c has it: in pieces, and not before "@on". */
static void warned(void *user, const char *text, int more) {
  static bool on, begun;
  (void)user;
  if (!begun && !more && text[0] == '@') {
    if (strcmp(text, "@on") == 0) on = true;
    if (strcmp(text, "@off") == 0) on = false;
    return;
  }
  if (on)
    fprintf(stderr, "%s%s%s", begun ? "" : "Lua warning: ", text,
            more ? "" : "\n");
  begun = more;
}

static int start(arguments *a) {
  lua_State *L = tm_lua_new(runtime);
  if (!L) {
    fprintf(stderr, "tidemill: not enough memory\n");
    return EXIT_FAILURE;
  }
  lua_setwarnf(L, warned, NULL);
  script = L;
  handle_interrupts();
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, a);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    const char *text = lua_tostring(L, -1);
    fprintf(stderr, "tidemill: %s\n", text ? text : "(no message)");
    a->status = EXIT_FAILURE;
  }
  script = NULL;
  lua_close(L);
  return a->status;
}

int main(int argc, char **argv) {
  tm_config config;
  tm_error e;
  tm_runtime *rt;
  if (argc > 1 && strcmp(argv[1], "--worker") == 0)
    return tm_worker_main(argc, argv);
  arguments a = {.count = argc, .list = argv, .status = EXIT_SUCCESS};
  tm_config_init(&config);
  config.flags = TM_USE_SIGNALS | TM_USE_CONFIG | TM_USE_STDERR;
  config.command = "/proc/self/exe";
  if (tm_runtime_new(&rt, &config, &e)) {
    fprintf(stderr, "tidemill: %s\n", e.text);
    return EXIT_FAILURE;
  }
  runtime = rt;
  int status = start(&a);
  runtime = NULL;
  tm_runtime_free(rt);
  return status;
}
