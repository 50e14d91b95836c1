#!/bin/sh
# Counts what clang-format would change in the C files given. Versions of it
# differ, so that this fails only when LINT_FORMAT is set.

if ! command -v clang-format >/dev/null; then
  echo "clang-format is not installed: layout not checked"
  exit 0
fi
count=$(clang-format --dry-run "$@" 2>&1 | grep -c 'warning:')
echo "clang-format would change $count places (make format does)"
[ -z "$LINT_FORMAT" ] || [ "$count" -eq 0 ]
