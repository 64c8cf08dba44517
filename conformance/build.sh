#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds crictl and critest, at the versions that conformance/go pins, into conformance/bin. Usage:
# build.sh [crictl|critest|ginkgo|streamclient|kubelet-VERSION]... (the kubelet not by default). ginkgo runs critest
# in parallel; streamclient is a program of ours over client-go; kubelet-v1.36 is the kubelet that conformance/kubelet/v1.36 pins, and takes ten minutes on
# two cores. Does nothing while the pins and the Go version are those of the last time. Exit 3: this machine has no
# usable Go, so that a caller can skip with that reason.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- crictl critest ginkgo streamclient
command -v go >/dev/null 2>&1 || {
    # A guest has a copy of what its host has built.
    missing=
    for what; do [ -x "bin/$what" ] || missing=$what; done
    [ -n "$missing" ] || exit 0
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

build() { # name, package, command...
    name=$1
    package=$2
    shift 2
    [ -x "$out/$name" ] && [ "$(cat "$out/.$name.stamp" 2>/dev/null)" = "$stamp" ] && return 0
    echo "conformance: building $name, for cri-tools $tools" >&2
    (cd go && "$@" -trimpath -buildvcs=false -mod=readonly \
        -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$tools" \
        -o "$out/$name.$$.new" "$package")
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

build_kubelet() { # kubelet-VERSION
    pins=kubelet/${1#kubelet-}
    [ -f "$pins/go.mod" ] || { echo "conformance: $pins/go.mod is not there" >&2; exit 2; }
    pinned=$(cat "$pins/go.mod" "$pins/go.sum" | sha256sum | cut -d' ' -f1)-$version
    [ -x "$out/$1" ] && [ "$(cat "$out/.$1.stamp" 2>/dev/null)" = "$pinned" ] && return 0
    release=$(sed -n "s,^.*k8s.io/kubernetes \(v[0-9.]*\).*,\1,p" "$pins/go.mod")
    minor=${release#v1.}
    flags="-X k8s.io/component-base/version.gitVersion=$release -X k8s.io/component-base/version.gitMajor=1"
    flags="$flags -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
    echo "conformance: building the kubelet $release" >&2
    (cd "$pins" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -mod=readonly -ldflags "-s -w $flags" \
        -o "$out/$1.$$.new" k8s.io/kubernetes/cmd/kubelet)
    mv "$out/$1.$$.new" "$out/$1"
    echo "$pinned" >"$out/.$1.stamp"
}

for what; do
    case $what in
    crictl) build crictl sigs.k8s.io/cri-tools/cmd/crictl go build ;;
    critest) build critest sigs.k8s.io/cri-tools/cmd/critest go test -c ;;
    ginkgo) build ginkgo github.com/onsi/ginkgo/v2/ginkgo go build ;;
    streamclient) build_own streamclient ;;
    kubelet-*) build_kubelet "$what" ;;
    *)
        echo "usage: build.sh [crictl|critest|ginkgo|streamclient|kubelet-VERSION]..." >&2
        exit 2
        ;;
    esac
done
