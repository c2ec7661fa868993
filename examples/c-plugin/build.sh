#!/bin/sh
# Makes plugins/edition.wasm of plugins/edition.c.
set -eu
cd "$(dirname "$0")"

for tool in clang wasm-ld; do
  if ! command -v "$tool" >/dev/null; then
    echo "$0: $tool is not installed; Debian has it in its packages clang and lld: apt-get install clang lld" >&2
    exit 1
  fi
done

# A copy of the examples stands beside the installed package.
sdk=../../sdk/c
[ -d "$sdk" ] || sdk=../../node_modules/sluice/sdk/c

# --stack-first: a stack that overflows traps, and does not run into data.
clang --target=wasm32 -std=c11 -O2 -mbulk-memory -ffreestanding -nostdlib -Wall -Wextra -Werror \
  -I "$sdk" -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=16384 -Wl,--strip-debug \
  -o plugins/edition.wasm plugins/edition.c
