#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds crictl and critest, at the versions that conformance/go pins, into conformance/bin. Usage:
# build.sh [crictl|critest|streamclient]... (all by default). streamclient is a program of ours over client-go. Does nothing while the pins and the Go version are those of the
# last time. Exit 3: this machine has no usable Go, so that a caller can skip with that reason.
set -eu
cd "$(dirname "$0")"
command -v go >/dev/null 2>&1 || {
    echo "conformance: crictl and critest cannot be built: Go is not installed (any version from 1.21 on will do)" >&2
    exit 3
}
version=$(go env GOVERSION)
minor=${version#go1.}
minor=${minor%%[!0-9]*}
[ "${minor:-0}" -ge 21 ] || {
    echo "conformance: crictl and critest cannot be built: $version is too old (any version from 1.21 on will do)" >&2
    exit 3
}
out=$PWD/bin
mkdir -p "$out"
stamp=$(cat go/go.mod go/go.sum build.sh | sha256sum | cut -d' ' -f1)-$version
tools=$(sed -n 's/^require sigs.k8s.io\/cri-tools v//p; s/^[[:space:]]*sigs.k8s.io\/cri-tools v\([^ ]*\).*/\1/p' go/go.mod | head -n 1)
[ -n "$tools" ] || { echo "conformance: go/go.mod does not pin sigs.k8s.io/cri-tools" >&2; exit 1; }

build() { # name, command...
    name=$1
    shift
    [ -x "$out/$name" ] && [ "$(cat "$out/.$name.stamp" 2>/dev/null)" = "$stamp" ] && return 0
    echo "conformance: building $name of cri-tools $tools" >&2
    (cd go && "$@" -trimpath -buildvcs=false -mod=readonly \
        -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$tools" \
        -o "$out/$name.$$.new" "sigs.k8s.io/cri-tools/cmd/$name")
    mv "$out/$name.$$.new" "$out/$name"
    echo "$stamp" >"$out/.$name.stamp"
}

build_own() { # name
    [ -x "$out/$1" ] && [ "$(cat "$out/.$1.stamp" 2>/dev/null)" = "$stamp-$(cat "go/$1/"*.go | sha256sum)" ] && return 0
    echo "conformance: building $1" >&2
    (cd go && go build -trimpath -buildvcs=false -mod=readonly -o "$out/$1.$$.new" "./$1")
    mv "$out/$1.$$.new" "$out/$1"
    echo "$stamp-$(cat "go/$1/"*.go | sha256sum)" >"$out/.$1.stamp"
}

[ $# -gt 0 ] || set -- crictl critest streamclient
for what; do
    case $what in
    crictl) build crictl go build ;;
    critest) build critest go test -c ;;
    streamclient) build_own streamclient ;;
    *)
        echo "usage: build.sh [crictl|critest|streamclient]..." >&2
        exit 2
        ;;
    esac
done
