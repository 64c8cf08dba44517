#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Brings a machine to where gantry can be built and run: `setup.sh run`, or `setup.sh test` with what only the
# tests need, or `setup.sh vm` with QEMU as well. Says what is wrong in one sentence and exits 1. Changes nothing that is there already: a second
# call takes well under a second. Debian and Ubuntu packages are installed by apt-get; elsewhere they are named.
set -eu
cd "$(dirname "$0")/.."
what=${1:-run}

die() {
    echo "gantry: $*" >&2
    exit 1
}

[ "$(uname -s)" = Linux ] || die "gantry runs on Linux only, this is $(uname -s)"
case $(uname -m) in
x86_64) node_arch=x64 ;;
aarch64) node_arch=arm64 ;;
*) die "gantry runs on x86_64 and aarch64, this machine is $(uname -m)" ;;
esac
[ "$(id -u)" -eq 0 ] || die "this needs root: run it with sudo"
command -v node >/dev/null 2>&1 || die "Node.js is missing: install Node.js 20 or newer, with npm"
node_version=$(node --version)
node_major=${node_version#v}
node_major=${node_major%%.*}
[ "$node_major" -ge 20 ] || die "Node.js 20 or newer is needed, this is $node_version"
command -v npm >/dev/null 2>&1 || die "npm is missing: install the npm that belongs to Node.js $node_version"

missing=
need() { # need PACKAGE FILE...: one of the files (or commands, without a slash) shows that PACKAGE is there
    package=$1
    shift
    for probe in "$@"; do
        case $probe in
        /*) if [ -e "$probe" ]; then return 0; fi ;;
        *) if command -v "$probe" >/dev/null 2>&1; then return 0; fi ;;
        esac
    done
    missing="$missing $package"
}

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH
need runc runc
need crun crun
need containernetworking-plugins /usr/lib/cni/bridge /opt/cni/bin/bridge
need iptables iptables
need nftables nft
need conntrack conntrack
need gcc cc
need make make
need libc6-dev /usr/include/stdio.h
need musl-tools musl-gcc
need libisal-dev /usr/include/isa-l.h /usr/include/isa-l/igzip_lib.h
need libzstd-dev /usr/include/zstd.h
need libssl-dev /usr/include/openssl/ssl.h
need iproute2 ip
need util-linux flock
need mount mount
if [ "$what" != run ]; then
    need docker-registry docker-registry
    need skopeo skopeo
    need runsc runsc
    need busybox-static /bin/busybox /usr/bin/busybox
    need nginx-light nginx
    # Debian has it for x86 only; elsewhere the suite that needs it is skipped by name.
    [ "$node_arch" != x64 ] || need user-mode-linux linux.uml
    # Of these the guest takes its first process.
    need systemd /lib/systemd/systemd
    need dbus /lib/systemd/system/dbus.socket
    need valgrind valgrind
    need clang-format clang-format
    need clang clang
    set -- /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a
    if [ ! -e "$1" ]; then # its name has the version of the clang that apt would install
        clang=$(apt-cache show clang 2>/dev/null | sed -n 's/^Version: 1:\([0-9]*\).*/\1/p' | head -n 1)
        need "libclang-rt-${clang:-14}-dev" "$1"
    fi
    need apparmor apparmor_parser
    need git git
    # The tests make keys and sign with them; a node needs gpg only for a policy with "signedBy".
    need gpg gpg
    need gpg-agent gpg-agent
fi
if [ "$what" = vm ]; then
    need qemu-system-x86 qemu-system-x86_64
    need qemu-utils qemu-img
    need mmdebstrap mmdebstrap
    need kmod modprobe
    need xz-utils xz
    need e2fsprogs mkfs.ext4
fi

install_packages() {
    command -v apt-get >/dev/null 2>&1 ||
        die "these packages are missing, by their Debian names:$missing; install them, then run this again"
    echo "gantry: installing$missing"
    # Test packages bring services (a registry, a web server) that must not start on this machine.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM
    fi
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of package names
    if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing; } \
        >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install$missing (its last lines are above)"
    fi
    rm -f "$log"
}
if [ -n "$missing" ]; then install_packages; fi

node_fresh() {
    [ -x "node_modules/node-linux-$node_arch/bin/node" ] && sh scripts/npm.sh node scripts/lock-fresh.ts
}
if ! node_fresh; then
    echo "gantry: installing the npm packages of package-lock.json"
    npm ci --no-audit --no-fund --loglevel=error || die "npm ci failed (its message is above)"
    [ -x "node_modules/node-linux-$node_arch/bin/node" ] ||
        die "npm ci brought no Node for $node_arch: optional packages must not be omitted"
fi
