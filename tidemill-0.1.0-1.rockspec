rockspec_format = "3.0"
package = "tidemill"
version = "0.1.0-1"
source = {
  url = "git+https://example.org/tidemill.git",
  tag = "v0.1.0",
}
description = {
  summary = "Lua scripts on every core of the machine",
  detailed = [[
    Worker pools in the manner of Python's multiprocessing.Pool, each worker
    with a Lua state of its own; a store that workers share; counters,
    progress, errors that say which item failed and where.]],
  license = "MIT",
  labels = { "parallel", "threads", "concurrency" },
}
supported_platforms = { "linux" }
dependencies = { "lua >= 5.4, < 5.5" }
build = {
  type = "make",
  build_target = "module",
  build_variables = {
    CC = "$(CC)",
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
    LUA_CFLAGS = "-I$(LUA_INCDIR)",
  },
  install_target = "install-module",
  install_variables = {
    CC = "$(CC)",
    CFLAGS = "$(CFLAGS)",
    LUA = "$(LUA)",
    LUA_CFLAGS = "-I$(LUA_INCDIR)",
    LUA_CMODDIR = "$(LIBDIR)",
  },
}
