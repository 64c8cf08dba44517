#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the peer the bench compares with: containerd and its runc shim, at one pinned version, into
# bench/out/bin. Needs Go; takes a minute or two the first time and nothing when the version is already there.
set -eu
version=v2.4.2
module=github.com/containerd/containerd/v2
out=$(cd "$(dirname "$0")/.." && pwd)/out/bin
stamp=$out/containerd.version

if [ -x "$out/containerd" ] && [ -x "$out/containerd-shim-runc-v2" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$version" ]; then
    exit 0
fi
command -v go >/dev/null || { echo "bench: Go is needed to build containerd $version: install golang (>= 1.26) or put the two binaries into $out" >&2; exit 1; }
mkdir -p "$out"
echo "bench: building containerd $version (a minute or two)" >&2
ldflags="-s -w -X $module/version.Version=$version"
# The shim is built static, as the project's own releases do; both without cgo, so no C headers are needed.
GOBIN=$out CGO_ENABLED=0 go install -trimpath -ldflags "$ldflags" \
    "$module/cmd/containerd@$version" "$module/cmd/containerd-shim-runc-v2@$version"
echo "$version" >"$stamp"
