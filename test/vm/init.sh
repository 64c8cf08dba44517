#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The first process of the guest that run.sh starts; sourced there, with job, repo, mark and PATH set. It makes the
# file systems that Linux programs expect, runs the command of the job, writes its exit status and powers off.
# Nothing outside the job's folder and the shared ones can be written to.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs sec /sys/kernel/security

# What the empty file systems are about to cover is kept below /mnt first. hostfs shows the outer machine's files.
mount -t tmpfs -o mode=755 keep /mnt
mkdir -p /mnt/job /mnt/repo /mnt/var
mount -t hostfs -o "$job" none /mnt/job
mount -t hostfs -o "ro,$repo" none /mnt/repo
cp -a /etc /mnt/etc 2>/dev/null
shared=()
while read -r dir; do
    [ -n "$dir" ] || continue
    shared+=("$dir")
    mkdir -p "/mnt/rw$dir"
    mount -t hostfs -o "$dir" none "/mnt/rw$dir"
done </mnt/job/rw

mkdir -p /mnt/var/{lib,log,tmp,cache}
chmod 1777 /mnt/var/tmp
ln -s /run /mnt/var/run
mount -n --bind /mnt/var /var
mount --bind /mnt/etc /etc
for dir in run tmp root; do mount -t tmpfs -o mode=755 "$dir" "/$dir"; done
if [ -n "${disk:-}" ]; then
    mknod /mnt/disk b 98 0
    mount -n -t ext4 -o nobarrier /mnt/disk /tmp
fi
chmod 1777 /tmp
mkdir -p /dev/shm /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
ln -sfn pts/ptmx /dev/ptmx
for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do ln -sfn "/proc/self/${link#*:}" "/dev/${link%:*}"; done

# Nothing in the guest can load a module by itself (there need not be a modprobe): what is needed is loaded now,
# each after those it depends on, which modules.dep lists last one first.
modules=/usr/lib/uml/modules/$(uname -r)
for module in overlay veth bridge br_netfilter; do
    read -r -a needed < <(sed -n "s,^\(.*/$module\.ko\):\(.*\),\1 \2,p" "$modules/modules.dep")
    for ((at = ${#needed[@]} - 1; at >= 0; at--)); do busybox insmod "$modules/${needed[at]}" 2>/dev/null; done
done

mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup /sys/fs/cgroup
echo '+cpu +io +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
ip link set lo up
hostname gantry-vm
ulimit -n 65536
mount --make-rshared /

# The checkout and the shared folders again, where an empty file system hides them.
[ -e "$repo/package.json" ] || { mkdir -p "$repo" && mount --bind /mnt/repo "$repo"; }
for dir in ${shared[@]+"${shared[@]}"}; do
    mkdir -p "$dir"
    mount -n --bind "/mnt/rw$dir" "$dir"
done

if [ -z "${systemd:-}" ]; then . "$repo/test/vm/job.sh"; fi

# systemd with the bus, and nothing else of the outer machine's units: they take longer than the tests.
units=/lib/systemd/system
mkdir -p /mnt/units /mnt/none /mnt/etc/systemd/system
for unit in dbus.socket dbus.service {sysinit,basic,sockets,slices,shutdown}.target; do cp "$units/$unit" /mnt/units/; done
cat >/mnt/units/gantry-job.service <<UNIT
[Unit]
Requires=dbus.socket
After=dbus.socket
[Service]
ExecStart=/bin/bash -c 'stty -opost; . /mnt/job/env; . $repo/test/vm/job.sh'
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
Delegate=yes
LimitNOFILE=65536
UNIT
mount --bind /mnt/units "$units"
for empty in /etc/systemd/system /lib/systemd/system-generators /usr/lib/systemd/system-environment-generators; do
    mount --bind /mnt/none "$empty"
done
exec /lib/systemd/systemd --unit=gantry-job.service --show-status=no --log-target=null
