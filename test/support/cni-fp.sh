#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A stand-in CNI plugin. Copied or linked under any name into a folder, it keeps its books beside itself:
# calls/<n>-<name>-<command>.env and .stdin are what it was given, in the order of the calls. It obeys files
# <name>.<command>.<what>: `code` (exit code), `out` (its stdout), `err` (its stderr), `hang` (sleeps that many
# seconds, as a child that also holds the output open, before anything else; `.ignore-term` makes it and the child deaf to TERM).
set -u
dir=$(cd "$(dirname "$0")" && pwd)
name=$(basename "$0")
mkdir -p "$dir/calls"
n=0
while ! mkdir "$dir/calls/$(printf %03d $n).lock" 2>/dev/null; do n=$((n + 1)); done
base="$dir/calls/$(printf %03d $n)-$name-$CNI_COMMAND"
cat >"$base.stdin"
env | sort >"$base.env"
echo $$ >"$base.pid"
rule="$dir/$name.$CNI_COMMAND"
[ -e "$rule.ignore-term" ] && trap '' TERM
if [ -e "$rule.hang" ]; then
  sleep "$(cat "$rule.hang")" &
  echo $! >"$base.child"
  wait
fi
[ -e "$rule.err" ] && cat "$rule.err" >&2
[ -e "$rule.out" ] && cat "$rule.out"
[ -e "$rule.code" ] && exit "$(cat "$rule.code")"
exit 0
