#!/bin/sh
# Installs into a scratch prefix and looks at it as a stranger would: what is
# there and what the libraries export; hosts that know nothing but what
# pkg-config says, with the shared library and the static one; Lua; the manual
# page; that nothing is left in the end. With --system, into /usr/local, where
# everything must be found with nothing set.
#
# Takes CC, CXX, LUA, MAKE and BUILD from the environment. The last line is
# "N passed, N failed".

CC=${CC:-cc} CXX=${CXX:-c++} LUA=${LUA:-lua5.4} MAKE=${MAKE:-make}
BUILD=${BUILD:-build}
here=$(pwd)
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0

# A scratch prefix is no place where the system looks. The library's path is
# not in tidemill.pc: a path in every program (rpath) would stay when the
# library moves, and distributions forbid it. After an install into /usr/local
# nothing has to be set.
if [ "$1" = --system ]; then
  prefix=/usr/local
  if [ -e $prefix/include/tidemill.h ]; then
    echo "tidemill is in $prefix already: left alone" >&2
    exit 1
  fi
else
  prefix=$scratch/prefix
  export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
  export LD_LIBRARY_PATH="$prefix/lib"
  export LUA_CPATH="$prefix/lib/lua/5.4/?.so"
fi
export LC_ALL=C
command=$prefix/bin/tidemill
library=$prefix/lib/libtidemill.so

# check WHAT COMMAND...: counts it; shows the output when it fails.
check() {
  what=$1
  shift
  if "$@" >"$scratch/log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    echo "ok   $what"
  else
    failed=$((failed + 1))
    echo "FAIL $what"
    sed 's/^/    /' "$scratch/log"
  fi
}

# ---- what is there -----------------------------------------------------

installs() {
  $MAKE install BUILD="$BUILD" PREFIX="$prefix" DESTDIR=
}

# With DESTDIR nothing knows of it, and the rest is the same.
installs_elsewhere() {
  $MAKE install BUILD="$BUILD" PREFIX=/usr DESTDIR="$scratch/dest" &&
    ! grep -rq "$scratch" "$scratch/dest/usr/lib/pkgconfig" &&
    [ -x "$scratch/dest/usr/bin/tidemill" ] &&
    $MAKE uninstall BUILD="$BUILD" PREFIX=/usr DESTDIR="$scratch/dest" &&
    [ -z "$(ls "$scratch/dest/usr")" ]
}

# A path that commands and texts cannot carry is refused before anything is
# built.
refuses() {
  for path in relative 'in two'; do
    $MAKE -n all install PREFIX="$path" 2>"$scratch/err" && return 1
    cat "$scratch/err"
    grep -q "absolute path without spaces (it is '$path')" "$scratch/err" ||
      return 1
  done
}

# only FILE PATTERN: FILE exports something, and only names that match. (A
# version of symbols has a name, too, of type A.)
only() {
  names=$(nm -D --defined-only "$1" | awk '$2 != "A" { print $NF }')
  echo "$1 exports:" $names
  [ -n "$names" ] && ! echo "$names" | grep -vE "$2"
}

# The symbols of a library carry the version of its binary interface.
versioned() {
  abi=$(awk '/define TM_ABI / { print $3 }' "$prefix/include/tidemill.h")
  nm -D --with-symbol-versions --defined-only "$library" |
    awk '$2 != "A" { print $NF }' | grep -v "@@TIDEMILL_$abi\$" && return 1
  nm -D --defined-only "$library" | grep " A TIDEMILL_$abi"
}

# The API of Lua that 5.4.0 has, and no later one: a module that was built with
# one 5.4 works in all. (lua_closethread is in use where its header has it.)
old_lua_suffices() {
  nm -D --undefined-only "$1" | awk '{ print $2 }' | grep '^lua' |
    grep -E '^lua_(closeslot|setcstacklimit)' && return 1
  case $("$LUA" -v) in
  *5.4.[0-5]\ *)
    ! nm -D --undefined-only "$1" | grep 'lua_closethread'
    ;;
  esac
}

# The soname is a file of the prefix, and what programs are linked with.
soname() {
  name=$(objdump -p "$library" | awk '$1 == "SONAME" { print $2 }')
  echo "soname $name"
  expr "$name" : 'libtidemill\.so\.[0-9]*$' && [ -e "$prefix/lib/$name" ] &&
    objdump -p "$scratch/host_minimal" | grep "NEEDED *$name\$"
}

# A thread that was left behind in C code returns into the library.
stays() {
  for file; do
    readelf -d "$file" | grep 'FLAGS_1.*NODELETE' || return 1
  done
}

needs_no_rpath() {
  ! objdump -p "$library" "$command" | grep -E 'R(UN)?PATH'
}

manual_page() {
  [ -s "$prefix/share/man/man1/tidemill.1" ] || return 1
  command -v man >/dev/null || return 0
  man -M "$prefix/share/man" -w tidemill &&
    man -M "$prefix/share/man" --warnings tidemill 2>&1 >/dev/null |
    awk '{ print } END { exit NR > 0 }'
}

uninstalls() {
  $MAKE uninstall BUILD="$BUILD" PREFIX="$prefix" DESTDIR= || return
  if [ "$prefix" = /usr/local ]; then
    ! find $prefix -name '*tidemill*' | grep .
  else
    [ ! -e "$prefix" ] || return
    $MAKE uninstall BUILD="$BUILD" PREFIX="$prefix" DESTDIR= \
      2>"$scratch/err" && [ ! -s "$scratch/err" ]
  fi
}

# ---- hosts -------------------------------------------------------------

flags='-O2 -Wall -Wextra -Wpedantic -Wconversion -Werror'

compiler_of() {
  case $1 in
  *.cpp) echo "$CXX -std=c++17 $flags" ;;
  *) echo "$CC -std=c11 $flags" ;;
  esac
}

# host SOURCE: builds $scratch/NAME with what pkg-config says.
host() {
  $(compiler_of "$1") -o "$scratch/$(basename "${1%.*}")" "$1" \
    $(pkg-config --cflags --libs tidemill)
}

# The library in the program, Lua and the system's as shared ones.
static_host() {
  $(compiler_of "$1") -o "$scratch/static_$(basename "${1%.*}")" "$1" \
    $(pkg-config --cflags --static --libs tidemill |
      sed 's/-ltidemill/-l:libtidemill.a/') &&
    ! objdump -p "$scratch/static_$(basename "${1%.*}")" |
      grep 'NEEDED *libtidemill'
}

# The same with the system's C library in it as well.
all_static_host() {
  $CC -static -o "$scratch/all_$(basename "${1%.*}")" "$1" \
    $(pkg-config --cflags --static --libs tidemill)
}

# says PATTERN... -- COMMAND...: it ends well, prints nothing to stderr, and
# each line of its output matches the pattern of that place.
says() {
  : >"$scratch/patterns"
  while [ "$1" != -- ]; do
    echo "$1" >>"$scratch/patterns"
    shift
  done
  shift
  (cd "$scratch" && timeout 60 "$@") >"$scratch/out" 2>"$scratch/err"
  status=$?
  cat "$scratch/out" "$scratch/err"
  [ $status -eq 0 ] && [ ! -s "$scratch/err" ] || return 1
  awk 'NR == FNR { pattern[NR] = $0; count = NR; next }
       $0 !~ "^" pattern[FNR] "$" {
         print "line " FNR " should match " pattern[FNR]; bad = 1 }
       END { exit bad || FNR != count }' "$scratch/patterns" "$scratch/out"
}

minimal() {
  cat >"$scratch/squares.lua" <<'LUA'
local tm = require "tidemill"
local squares = tm.thread_pool():map(function(x) return x * x end,
                                     tm.range(1, tonumber(...)))
return table.concat(squares, " ")
LUA
  says '1 4 9 16 25' -- "$1" "$scratch/squares.lua" 5
}

simulator() {
  step='step +[0-9]+: +[0-9.]+ % covered, feed [0-9.]+, kill [0-9.]+'
  says "$step" "$step" 'now spots' "$step" "$step" "$step" "$step" "$step" \
    "$step" '1 workers and 4: the same to the last bit; 8 frames each' \
    'mass [0-9.]+, as expected within [0-9]e-[0-9]+' -- \
    "$1" 96 6400 "$here/examples/host_simulator.lua"
}

nolua() {
  says 'integral 3\.14159265359[0-9]' \
    '500 systems of 100, residual below 1e-10: yes' \
    'TM_EKERNEL: .*item 321: shift -1 is negative' \
    '40 blocks, sum of squares 21332533340000' -- "$1"
}

plus() {
  says 'a vector of length 10.000000' 'roots 2 3 4' \
    'TM_EKERNEL: .*item 1: no root of -9.000000' -- "$1"
}

# ---- Lua ---------------------------------------------------------------

lua_finds_it() {
  (cd "$scratch" && "$LUA" -e 'require "tidemill"') &&
    (cd "$scratch" && env -u LUA_CPATH "$command" -e 'require "tidemill"')
}

# Whether a plain Lua looks where the default prefix has the module.
default_prefix() {
  $MAKE -n install-module BUILD="$BUILD" PREFIX=/usr/local |
    grep ' /usr/local/lib/lua/5.4/tidemill.so' &&
    env -u LUA_CPATH "$LUA" -e \
      'assert(package.cpath:find("/usr/local/lib/lua/5.4/?.so", 1, true))'
}

# ---- the whole ---------------------------------------------------------

[ "$prefix" = /usr/local ] || check "DESTDIR" installs_elsewhere
check "PREFIX that cannot be" refuses
check "make install" installs
for example in minimal simulator nolua plus; do
  source=$(ls examples/host_$example.c*)
  check "$source compiles" host "$source"
  check "$source runs" $example "$scratch/host_$example"
  check "$source compiles, static" static_host "$source"
  check "$source runs, static" $example "$scratch/static_host_$example"
done
check "examples/host_nolua.c compiles, all static" all_static_host \
  examples/host_nolua.c
check "examples/host_nolua.c runs, all static" nolua "$scratch/all_host_nolua"
check "the library exports tm_* and luaopen_*" only "$library" \
  '^(tm_[a-z_]+|luaopen_tidemill(_core)?)(@|$)'
check "the module exports luaopen_*" only "$prefix/lib/lua/5.4/tidemill.so" \
  '^luaopen_tidemill(_core)?$'
check "the module needs no more of Lua than 5.4.0 has" old_lua_suffices \
  "$prefix/lib/lua/5.4/tidemill.so"
check "symbols have a version" versioned
check "soname" soname
check "no rpath" needs_no_rpath
check "the libraries are not unloaded" stays "$library" \
  "$prefix/lib/lua/5.4/tidemill.so"
check "$LUA finds the module" lua_finds_it
check "plain Lua looks in the default prefix" default_prefix
check "manual page" manual_page
check "make uninstall" uninstalls

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
