#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the guest: says on the second serial line that it is up, waits for one command, runs it in the checkout that
# the second disk holds, sends its output, and last a line with its exit status. guest.ts is at the other end.
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    for folder in /sys/fs/cgroup /sys/fs/cgroup/system.slice; do echo "+$controller" >"$folder/cgroup.subtree_control"; done
done 2>/dev/null
# What is read now is in memory when the machine goes on from here.
cat /usr/sbin/runc /usr/bin/crun /usr/lib/cni/* >/dev/null
sync
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo ready >&3
# The first bytes after a machine went on can be lost: of the first word.
read -r _ now command <&3
date -s "@$now" >/dev/null
export HOME=/root LANG=C.UTF-8 TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /checkout && mount -o noatime /dev/vdb /checkout && cd /checkout || exit
bash -c "$command" </dev/null 2>&1 3>&- | cat >&3
status=${PIPESTATUS[0]}
sync
printf '\nguest-status %s\n' "$status" >&3
sleep infinity
