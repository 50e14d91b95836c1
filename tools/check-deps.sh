#!/bin/sh
# Names what is missing for the groups of work given as arguments, and the
# command that installs it; exits 1 when anything is. Installs nothing.
#
#   check-deps.sh build test     groups: make build ffi test lint clang hosts
#                                docs rock debian
#   check-deps.sh --list build   the Debian packages alone, on one line

list=no
if [ "$1" = --list ]; then
  list=yes
  shift
fi

CC=${CC:-cc}
LUA=${LUA:-lua5.4}
LUA_CFLAGS=${LUA_CFLAGS:-$(pkg-config --cflags lua5.4 2>/dev/null ||
  echo -I/usr/include/lua5.4)}
packages=
missing=

# need PACKAGE "what it is" COMMAND...: the package is missing when the
# command fails.
need() {
  package=$1
  what=$2
  shift 2
  "$@" >/dev/null 2>&1 && return
  packages="$packages $package"
  missing="$missing
  $what"
}

# LUA_CFLAGS and CC may be several words.
header() {
  printf '#include <%s>\n' "$1" | $CC $LUA_CFLAGS -E -x c - -o /dev/null
}

pkg_config() {
  command -v pkg-config || header lua.h
}

lua_has() {
  "$LUA" -e "require '$1'"
}

compiler() {
  case $CC in
  *clang*) echo clang ;;
  *) echo gcc ;;
  esac
}

for group; do
  case $group in
  make)
    need make "make" command -v make
    ;;
  build)
    need "$(compiler)" "a C compiler ($CC)" command -v "${CC%% *}"
    need libc6-dev "the C library's headers (stdio.h)" header stdio.h
    need pkg-config "pkg-config" pkg_config
    need liblua5.4-dev "the headers of Lua 5.4 (lua.h)" header lua.h
    need lua5.4 "the Lua 5.4 interpreter ($LUA)" "$LUA" -e \
      'assert(_VERSION == "Lua 5.4")'
    ;;
  ffi)
    need libffi-dev "libffi, for tm.cfunction (ffi.h)" header ffi.h
    ;;
  test)
    need lua-busted "busted for Lua 5.4" lua_has busted
    need lua-penlight "Penlight for Lua 5.4" lua_has pl.class
    need lua-lpeg "LPeg for Lua 5.4" lua_has lpeg
    ;;
  lint)
    need lua-check "luacheck" command -v luacheck
    need clang-format "clang-format" command -v clang-format
    ;;
  clang)
    need clang "clang" command -v clang
    ;;
  hosts)
    need g++ "a C++ compiler" command -v "${CXX:-g++}"
    ;;
  docs)
    need doxygen "Doxygen" command -v doxygen
    ;;
  rock)
    need luarocks "LuaRocks" command -v luarocks
    ;;
  debian)
    need debhelper "debhelper" command -v dh
    need dpkg-dev "dpkg-buildpackage" command -v dpkg-buildpackage
    need fakeroot "fakeroot" command -v fakeroot
    need libffi-dev "libffi (ffi.h)" header ffi.h
    ;;
  *)
    echo "check-deps.sh: unknown group '$group'" >&2
    exit 2
    ;;
  esac
done

if [ "$list" = yes ]; then
  echo $packages
elif [ -n "$packages" ]; then
  root=
  [ "$(id -u)" -eq 0 ] || root="sudo "
  echo "missing:$missing" >&2
  echo "on Debian or Ubuntu, this installs it:" >&2
  echo "  ${root}apt-get install$packages" >&2
  exit 1
fi
