// SPDX-License-Identifier: Apache-2.0
/**
 * The text of the AppArmor profile of `RuntimeDefault` (apparmor.d(5)). It opens what a container has its own of,
 * files, network, capabilities, and closes what belongs to the kernel or to others: mounts, the kernel's settings and
 * memory, signals and traces across its border. Pure.
 */
export const DEFAULT_PROFILE = 'gantry-default'

/** `pinned`: the machine has the feature set 3.0 to compare with; without, a newer parser closes what it learns anew. */
export function defaultProfileText({ pinned }: { readonly pinned: boolean }): string {
  return `${pinned ? 'abi <abi/3.0>,\n' : ''}profile ${DEFAULT_PROFILE} flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,
  deny mount,

  # The runtime and the daemon stop containers; processes of this profile may signal and trace each other.
  signal (receive) peer=unconfined,
  signal (receive) peer={runc,crun,gantryd},
  signal (send, receive) peer=${DEFAULT_PROFILE},
  ptrace (trace, read, tracedby, readby) peer=${DEFAULT_PROFILE},

  deny /proc/{kcore,kmem,mem,sysrq-trigger} rwklx,
  deny /proc/{acpi,asound,bus,driver,fs,irq,scsi,tty}/** wklx,
  # Of /proc/sys only what a namespace answers for: net, fs/mqueue, and of kernel: host and domain name, System V IPC.
  deny /proc/sys/{[^fkn]**,f[^s]**,fs/[^m]**,fs/m[^q]**,kernel/[^dhms]**} wklx,
  deny /proc/sys/kernel/{d[^o]**,h[^o]**,ho[^s]**,m[^s]**,s[^eh]**,se[^m]**} wklx,

  deny /sys/[^f]**/** wklx,
  deny /sys/f[^s]**/** wklx,
  deny /sys/fs/[^c]**/** wklx,
  deny /sys/{firmware,devices/virtual/powercap,kernel/security}/** rwklx,
}
`
}
