#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the guest of guest.ts in a folder: Debian with systemd as a disk image, a kernel, an initrd. `image.sh
# FOLDER`, as root. What is there and made by the same scripts stays. Packages come from where apt gets them here.
set -euo pipefail
here=$(realpath -e "$(dirname "$0")")
cache=${1:?the folder}
suite=bookworm
packages=(
    systemd systemd-sysv dbus udev kmod procps iproute2 util-linux mount sudo ca-certificates openssl
    runc crun containernetworking-plugins iptables nftables conntrack apparmor busybox-static
    gcc libc6-dev musl-tools make libisal2 libzstd1 libssl3 docker-registry skopeo nginx-light gpg gpg-agent git socat jq
)
# Of the kernel's modules only these, below kernel/: no hardware.
modules=(arch crypto block fs lib net security drivers/block drivers/virtio 'drivers/net/*.ko.xz' drivers/net/vxlan)

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
made_by=$(cat "$here/image.sh" "$here/agent.sh" | sha256sum)
[ "$(cat "$cache/made-by" 2>/dev/null)" != "$made_by" ] || exit 0
echo "guest: building its image, which takes about a minute"
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM

uri() { apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | sed -n "s/^$1 //p" | head -n 1; }
main=$(uri "$suite") security=$(uri "$suite-security")
[ -n "$main" ] || { echo "guest: apt has no $suite here: apt-get update, on Debian 12" >&2 && exit 1; }
newer="$suite-backports"
export newer
cat >"$work/kernel.sh" <<'HOOK'
set -eu
chroot "$1" sh -euc 'cd /boot
    set -- -o "APT::Default-Release=$0" -o APT::Sandbox::User=root
    name=$(apt-cache "$@" depends linux-image-amd64 | sed -n "s/.*Depends: \(linux-image-[0-9][^ ]*\)/\1/p" | head -n 1)
    apt-get -qq "$@" download "$name"' "$newer"
HOOK
sources=("deb $main $suite main" "deb $main $newer main")
[ -z "$security" ] || sources+=("deb $security $suite-security main")
root=$work/root
mmdebstrap --quiet --variant=minbase --format=directory --include="$(IFS=, && echo "${packages[*]}")" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook="sh '$work/kernel.sh' \"\$1\"" \
    "$suite" "$root" "${sources[@]}"

dpkg-deb -x "$root"/boot/linux-image-*.deb "$work/kernel"
rm "$root"/boot/linux-image-*.deb
cp "$work"/kernel/boot/vmlinuz-* "$work/vmlinuz"
release=$(basename "$work"/kernel/boot/vmlinuz-*)
release=${release#vmlinuz-}
from=$(find "$work/kernel" -type d -path "*/lib/modules/$release")
to=$root/lib/modules/$release
mkdir -p "$to"
(
    cd "$from"
    cp modules.builtin modules.builtin.modinfo modules.order "$to"
    # shellcheck disable=SC2086 # patterns
    for part in "${modules[@]}"; do for found in kernel/$part; do [ ! -e "$found" ] || cp -a --parents "$found" "$to"; done; done
)
find "$to" -name '*.ko.xz' -print0 | xargs -0 -P 2 -n 64 xz -d
depmod -b "$root" "$release"

# Brings the disk into sight and hands over to systemd.
mkdir -p "$work"/initrd/{dev,root,modules}
cp "$root/bin/busybox" "$work/initrd/"
for module in virtio_pci virtio_blk crc32c_generic ext4; do modprobe -d "$root" -S "$release" -D "$module"; done |
    sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$work/initrd/modules/"
    echo "/busybox insmod /modules/$(basename "$file")" >>"$work/load"
done
{
    echo '#!/busybox sh'
    cat "$work/load"
    echo '/busybox mount -t devtmpfs dev /dev
while ! /busybox mount -t ext4 -o noatime /dev/vda /root; do /busybox sleep 0.1; done
/busybox mount -o move /dev /root/dev
exec /busybox switch_root /root /sbin/init'
} >"$work/initrd/init"
chmod +x "$work/initrd/init"
(cd "$work/initrd" && find . | /bin/busybox cpio -o -H newc 2>/dev/null) >"$work/initrd.img"

echo gantry-guest >"$root/etc/hostname"
printf '127.0.0.1 localhost gantry-guest\n::1 localhost\n' >"$root/etc/hosts"
echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
printf '%s\n' overlay br_netfilter tun nf_nat nft_compat xt_MASQUERADE xt_comment xt_conntrack xt_mark >"$root/etc/modules-load.d/gantry.conf"
printf 'net.ipv4.ip_forward=1\n' >"$root/etc/sysctl.d/90-gantry.conf"
units=$root/etc/systemd/system
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    getty@tty1.service serial-getty@ttyS0.service docker-registry.service nginx.service; do
    ln -sf /dev/null "$units/$unit"
done
install -m 755 "$here/agent.sh" "$root/usr/local/bin/gantry-agent"
cat >"$units/gantry-agent.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
ExecStart=/usr/local/bin/gantry-agent
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
LimitNOFILE=1048576
UNIT
mkdir -p "$units/graphical.target.wants"
ln -s ../gantry-agent.service "$units/graphical.target.wants/"

truncate -s 12G "$work/root.img"
mkfs.ext4 -q -F -m 0 -d "$root" "$work/root.img"
rm -rf "$cache"/state.*
mv -f "$work"/{vmlinuz,initrd.img,root.img} "$cache/"
echo "$made_by" >"$cache/made-by"
