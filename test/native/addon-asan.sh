#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the addon's tests on the build with AddressSanitizer and UBSan (make -C native asan), then addon-leaks.ts
# under LeakSanitizer. Node itself leaks a little: only stacks that go through the addon's sources count.
set -eu
cd "$(dirname "$0")/../.."
addon=$PWD/native/build/gantry-asan.node
[ -f "$addon" ] || { echo "addon-asan: $addon is missing: run 'make -C native asan'" >&2; exit 1; }
GANTRY_TEST_ADDON=$addon
LD_PRELOAD=$(cc -print-file-name=libasan.so):$(cc -print-file-name=libubsan.so)
ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
UBSAN_OPTIONS=print_stacktrace=1
export GANTRY_TEST_ADDON LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS
sh scripts/npm.sh vitest run --testTimeout 60000 test/native/addon "$@"

report=$(ASAN_OPTIONS=detect_leaks=1 sh scripts/npm.sh node test/native/addon-leaks.ts 2>&1 || true)
case $report in *done*) ;; *) echo "$report" >&2; echo "addon-asan: addon-leaks.ts did not end" >&2; exit 1 ;; esac
if echo "$report" | grep -q 'native/addon/\|gantry-asan.node\| addon/'; then
  echo "$report" >&2
  echo "addon-asan: the addon leaks" >&2
  exit 1
fi
echo "addon-asan: no leak of the addon"
