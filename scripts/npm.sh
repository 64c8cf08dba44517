#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a command with the project's own Node (from npm) first on PATH: the machine's Node only runs npm.
set -eu
cd "$(dirname "$0")/.."
case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
node_bin="$PWD/node_modules/node-linux-$arch/bin"
[ -x "$node_bin/node" ] || { echo "gantry: the project's Node is missing: run 'npm ci' first" >&2; exit 1; }
PATH="$node_bin:$PWD/node_modules/.bin:$PATH"
export PATH
exec "$@"
