#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `npm test`: all set-up, the build, then every suite (scripts/test.ts). The last line is the tally.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh test
if ! sh scripts/build.sh; then
    echo "gantry: the build failed (its messages are above), so no test ran" >&2
    echo "0 passed, 1 failed"
    exit 1
fi
exec sh scripts/npm.sh node scripts/test.ts "$@"
