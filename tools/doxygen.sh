#!/bin/sh
# doxygen.sh DIRECTORY: the headers' pages by Doxygen, or a word on why not.
# A comment that Doxygen complains of is a failure.

if ! command -v doxygen >/dev/null; then
  echo "doxygen is not installed: no pages of the headers by it" \
    "(Debian: apt-get install doxygen)"
  exit 0
fi
rm -rf "$1"
mkdir -p "$1" || exit
{
  cat docs/Doxyfile
  echo "INPUT = include/tidemill.h include/tidemill_kernel.h"
  echo "INPUT_FILTER = \"${LUA:-lua5.4} tools/doxygen-filter.lua\""
  echo "OUTPUT_DIRECTORY = \"$1\""
  echo "PROJECT_NUMBER = $(sed -n 's/^.define TM_VERSION //p' \
    include/tidemill.h)"
  echo "WARN_LOGFILE = \"$1/warnings.txt\""
} | doxygen - || exit
cat "$1/warnings.txt" >&2
[ ! -s "$1/warnings.txt" ] || exit
rm "$1/warnings.txt"
echo "$1/index.html: by doxygen $(doxygen --version)"
