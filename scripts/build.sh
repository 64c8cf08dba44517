#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds what is out of date: the generated codec, dist/ by tsc, the addon and the C programs by make.
# Needs node_modules (scripts/setup.sh). Two builds at once wait for one another. dist/ is swapped in whole.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .cache
if [ "${1:-}" != locked ] && command -v flock >/dev/null 2>&1; then
    exec flock .cache/build.lock sh scripts/build.sh locked
fi

sh scripts/npm.sh node scripts/gen.ts

out_of_date() {
    [ -f dist/.stamp ] || return 0
    [ -n "$(find src tsconfig.json tsconfig.build.json package-lock.json -newer dist/.stamp -print | head -n 1)" ]
}

if out_of_date; then
    rm -rf .cache/dist .cache/dist.old
    mkdir -p .cache/dist
    touch .cache/dist/.stamp # from before the compiler reads: an edit meanwhile is seen by the next build
    sh scripts/npm.sh tsc -p tsconfig.build.json --outDir .cache/dist
    # tsc neither copies nor rewrites the codec, which is JavaScript already.
    for codec in edge/cri/gen/api.js edge/node/gen/api.js; do
        sed "s|/int64\.ts'|/int64.js'|" "src/$codec" >".cache/dist/$codec"
    done
    if [ -d dist ]; then mv dist .cache/dist.old; fi
    mv .cache/dist dist
    rm -rf .cache/dist.old
fi

make --no-print-directory -s -C native -j "$(getconf _NPROCESSORS_ONLN)"
