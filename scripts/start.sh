#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `npm start`: all set-up, the build, then the daemon in the foreground with its own default network and one
# self-check pod. Arguments go to `gantry serve`. Ctrl-C stops the daemon; containers stay.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh run
sh scripts/build.sh
exec bin/gantry serve --self-check --default-network "$@"
