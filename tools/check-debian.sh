#!/bin/sh
# Builds the Debian packages from what is committed, installs them, tries
# them with nothing set, and removes them again. Needs root, debhelper, and a
# machine that has no tidemill. The packages' own tests are left out: they are
# those of `make check`. The last line is "N passed, N failed".

version=$(sed -n 's/^.define TM_VERSION "\(.*\)"/\1/p' include/tidemill.h)
packages='libtidemill0 libtidemill-dev tidemill lua-tidemill'
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0

# check WHAT COMMAND...: counts it; shows the output's end when it fails.
check() {
  what=$1
  shift
  if "$@" >"$scratch/log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    echo "ok   $what"
  else
    failed=$((failed + 1))
    echo "FAIL $what"
    tail -n 40 "$scratch/log" | sed 's/^/    /'
  fi
}

builds() {
  mkdir "$scratch/tidemill-$version" &&
    git archive HEAD | tar x -C "$scratch/tidemill-$version" &&
    (cd "$scratch/tidemill-$version" &&
      DEB_BUILD_OPTIONS="nocheck parallel=$(nproc)" \
        dpkg-buildpackage -us -uc -b)
}

installs() {
  for package in $packages; do
    set -- "$@" "$scratch/${package}_$version"-*.deb
  done
  dpkg -i "$@"
}

tries() {
  cp examples/host_nolua.c "$scratch/host.c" && cd "$scratch" &&
    lua5.4 -e 'print(#require("tidemill").thread_pool():map(math.sqrt, {4}))' &&
    tidemill -e 'require "tidemill"' && tidemill --version &&
    cc -o host host.c $(pkg-config --cflags --libs tidemill) && ./host
}

removes() {
  dpkg -P $packages && [ ! -e /usr/include/tidemill.h ] &&
    ! lua5.4 -e 'require "tidemill"' 2>/dev/null
}

if dpkg-query -W $packages 2>/dev/null | grep .; then
  echo "packages of tidemill are installed: left alone" >&2
  exit 1
fi
check "dpkg-buildpackage" builds
check "dpkg -i" installs
check "installed: lua5.4, tidemill and a host find it" tries
check "dpkg -P" removes
command -v lintian >/dev/null &&
  check "lintian" lintian --allow-root --fail-on error "$scratch"/*.changes

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
