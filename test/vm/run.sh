#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command as root under a second kernel: User-Mode Linux (Debian package user-mode-linux) with cgroup v2
# alone, AppArmor and all capabilities. There is no disk image: the files of this machine are the root, read-only;
# /etc is a throw-away copy; /run /tmp /root /var /dev/shm are empty and in memory.
#
# usage: run.sh [--rw DIR]... [--systemd] [--mem MIB] [--disk MIB] [--timeout SECONDS] -- COMMAND [ARGUMENT]...
#   --rw DIR    share DIR read-write at the same path
#   --systemd   with systemd of this machine as the first process, and its bus; no other unit of the machine
#   --disk MIB  an ext4 of that size as /tmp, which takes id mappings; in memory this kernel's files do not
# The command starts in this checkout, which is there read-only wherever it lies, with this machine's PATH; its
# standard input is empty and its two outputs come out as one, on standard output.
# Exit status: the command's; 124 time limit, 125 the guest did not come up or failed, 127 it is not installed.
#
# Inside are cgroup2 with cpu io memory pids, overlayfs, veth, bridge, namespaces, seccomp, AppArmor. Not inside:
# cpuset, hugetlb, iptables and nftables NAT, loop devices, a second CPU. A system call costs several
# times the usual.
set -euo pipefail

usage() {
    sed -n '3,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 125
}
die() {
    echo "vm: $2" >&2
    exit "$1"
}

repo=$(realpath -e "$(dirname "$0")/../..")
rw=() mem=2048 limit=600 disk= systemd=
while [ $# -gt 0 ]; do
    case $1 in
    --rw) rw+=("$(realpath -e "${2:?}")") && shift 2 ;;
    --mem) mem=${2:?} && shift 2 ;;
    --disk) disk=${2:?} && shift 2 ;;
    --systemd) systemd=1 && shift ;;
    --timeout) limit=${2:?} && shift 2 ;;
    --) shift && break ;;
    *) usage ;;
    esac
done
[ $# -gt 0 ] || usage
[ "$(id -u)" = 0 ] || die 125 "a guest needs root"
uml=$(command -v linux.uml) || die 127 "linux.uml is not installed (Debian package user-mode-linux)"

job=$(mktemp -d "${TMPDIR:-/var/tmp}/gt-vm.XXXXXX")
running=
cleanup() {
    # timeout(1) passes TERM on to the whole guest, which is a process group of its own.
    [ -z "$running" ] || kill -TERM "$running" 2>/dev/null || true
    [ -z "$running" ] || wait "$running" 2>/dev/null || true
    rm -rf "$job"
}
trap cleanup EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# The guest's memory is a sparse file that it maps executable: in /dev/shm if that is allowed and large enough.
memdir=$job
if findmnt -n -o FSTYPE,OPTIONS /dev/shm 2>/dev/null | grep '^tmpfs' | grep -qv noexec &&
    [ "$(df --output=avail -m /dev/shm | tail -n 1)" -gt "$mem" ]; then
    memdir=/dev/shm
fi

printf '%q ' "$@" >"$job/command"
printf '%s\n' ${rw[@]+"${rw[@]}"} >"$job/rw"
{
    printf 'job=%q\nrepo=%q\n' "$job" "$repo"
    printf 'systemd=%q\n' "$systemd"
    printf 'export PATH=%q HOME=/root TERM=dumb\n' "$PATH"
    [ -z "${CI:-}" ] || printf 'export CI=%q\n' "$CI"
} >"$job/env"
ubd=()
if [ -n "$disk" ]; then
    truncate -s "${disk}M" "$job/disk"
    mkfs.ext4 -q -F "$job/disk" >/dev/null
    ubd=("ubda=$job/disk")
    echo 'disk=1' >>"$job/env"
fi
mkdir "$job/out"
printf '#!/bin/bash\n. %q\n. %q\n' "$job/env" "$repo/test/vm/init.sh" >"$job/init"
chmod +x "$job/init"

guest() {
    # The guest ends with this script, however that ends.
    TMPDIR=$memdir exec setpriv --pdeathsig TERM timeout -k 5 "$limit" "$uml" "mem=${mem}M" "uml_dir=$job/" ${ubd[@]+"${ubd[@]}"} \
        rootfstype=hostfs ro "init=$job/init" cgroup_no_v1=all lsm=apparmor con=null con0=fd:0,fd:1 quiet loglevel=1 </dev/null
}
# The console, of which the command's output begins after a mark that init.sh makes; what the kernel says before
# is kept for the case that it fails, and what it says at its end is left out.
mark=$(basename "$job")
printf 'mark=%q\n' "$mark" >>"$job/env"
exec 3> >(sed -u -n -e "0,/^$mark/{w $job/boot" -e 'd}' -e '/^reboot: \|^sysrq: /d' -e 's/sysrq: Power Off.*$//' -e p)
filter=$!
guest >&3 2>"$job/kernel" &
running=$!
exec 3>&-
ended=0
wait "$running" || ended=$?
wait "$filter" || true
running=
if [ -s "$job/out/status" ]; then exit "$(cat "$job/out/status")"; fi
tail -q -n 5 "$job/boot" "$job/kernel" >&2 || true
[ "$ended" != 124 ] && [ "$ended" != 137 ] || die 124 "the guest gave no answer within $limit s"
die 125 "the guest ended with $ended before the command did"
