#!/bin/sh
# Installs what check-deps.sh finds missing for the groups of work given as
# arguments. Does nothing, and asks for nothing, when all is there.

check=$(dirname "$0")/check-deps.sh
packages=$(sh "$check" --list "$@") || exit
[ -z "$packages" ] && exit 0

root=
if ! command -v apt-get >/dev/null; then
  echo "there is no apt-get here: please install these yourself" >&2
  sh "$check" "$@"
  exit 1
elif [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "installing needs root, and there is no sudo" >&2
    sh "$check" "$@"
    exit 1
  fi
  root=sudo
fi

echo "installing $packages"
apt="$root env DEBIAN_FRONTEND=noninteractive apt-get -qq
  -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3"
$apt update || echo "apt-get update failed; trying what is known" >&2
$apt install -y --no-install-recommends $packages >/dev/null </dev/null
sh "$check" "$@"
