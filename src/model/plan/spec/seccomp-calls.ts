// SPDX-License-Identifier: Apache-2.0
/**
 * The system calls of Linux, sorted by what the seccomp profile of `RuntimeDefault` does with them: open to all
 * containers, open with a capability, refused. Derived from the kernel's tables (asm-generic/unistd.h and those of
 * x86, up to Linux 6.18) and section 2 of its manual pages; a test compares it with the headers of the machine, so
 * that a new call has to be put somewhere. A name is in one place only. What is nowhere here answers ENOSYS.
 */

const words = (text: string): readonly string[] => text.trim().split(/\s+/)

/**
 * What a process may do to itself, to files that it can reach, and to processes that the kernel lets it touch. The
 * kernel's own checks of permissions and capabilities still apply to each (chown, setuid, mknod, ptrace, …).
 */
export const OPEN_CALLS = words(`
  access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
  fadvise64 fadvise64_64 arm_fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
  fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd
  getdents getdents64 lchown lchown32 link linkat lseek _llseek lstat lstat64 mkdir mkdirat mknod mknodat newfstatat
  oldfstat oldlstat oldstat open openat openat2 read pread64 preadv preadv2 readv readahead readdir readlink readlinkat
  rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync
  sync_file_range sync_file_range2 arm_sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime
  utimensat utimensat_time64 utimes vmsplice write pwrite64 pwritev pwritev2 writev cachestat
  name_to_handle_at listmount statmount file_getattr file_setattr

  fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
  lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat

  inotify_add_watch inotify_init inotify_init1 inotify_rm_watch fanotify_mark
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
  eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select _newselect pipe pipe2 signalfd signalfd4
  io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set

  brk madvise memfd_create memfd_secret membarrier mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync
  munlock munlockall munmap map_shadow_stack pkey_alloc pkey_free pkey_mprotect remap_file_pages

  execve execveat exit exit_group fork vfork wait4 waitid waitpid kill tgkill tkill pause prctl ptrace
  process_mrelease process_vm_readv process_vm_writev pidfd_open pidfd_send_signal
  futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list set_robust_list
  get_thread_area set_thread_area set_tid_address arch_prctl modify_ldt set_tls cacheflush breakpoint
  restart_syscall rseq uprobe uretprobe
  capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid
  getresgid getresgid32 getresuid getresuid32 getsid gettid getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32
  setgid setgid32 setgroups setgroups32 setpgid setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
  setreuid32 setsid setuid setuid32
  getpriority setpriority nice getrlimit setrlimit prlimit64 ugetrlimit getrusage getcpu sched_get_priority_max
  sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
  sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
  landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
  lsm_set_self_attr seccomp getrandom sysinfo uname olduname oldolduname

  rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
  rt_sigtimedwait_time64 rt_tgsigqueueinfo sgetmask sigaction sigaltstack signal sigpending sigprocmask sigreturn
  sigsuspend ssetmask

  adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
  clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
  timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
  timerfd_gettime64 timerfd_settime timerfd_settime64 times

  accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
  send sendmmsg sendmsg sendto setsockopt shutdown socketpair
  ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
  msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
`)

/** Refused with EPERM, but for a container that has one of the capabilities. */
export const CALLS_BY_CAPABILITY: readonly {
  readonly capabilities: readonly string[]
  readonly calls: readonly string[]
}[] = [
  {
    capabilities: ['CAP_SYS_ADMIN'],
    calls: words(`
      fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree
      open_tree_attr pivot_root quotactl quotactl_fd setdomainname sethostname setns umount umount2 unshare
    `),
  },
  { capabilities: ['CAP_BPF', 'CAP_SYS_ADMIN'], calls: ['bpf'] },
  { capabilities: ['CAP_PERFMON', 'CAP_SYS_ADMIN'], calls: ['perf_event_open'] },
  { capabilities: ['CAP_SYSLOG'], calls: ['syslog'] },
  { capabilities: ['CAP_DAC_READ_SEARCH'], calls: ['open_by_handle_at'] },
  { capabilities: ['CAP_SYS_BOOT'], calls: ['reboot'] },
  { capabilities: ['CAP_SYS_CHROOT'], calls: ['chroot'] },
  { capabilities: ['CAP_SYS_MODULE'], calls: words('delete_module finit_module init_module') },
  {
    capabilities: ['CAP_SYS_NICE'],
    calls: words('get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node'),
  },
  { capabilities: ['CAP_SYS_PACCT'], calls: ['acct'] },
  { capabilities: ['CAP_SYS_PTRACE'], calls: words('kcmp pidfd_getfd process_madvise') },
  { capabilities: ['CAP_SYS_RAWIO'], calls: words('ioperm iopl') },
  { capabilities: ['CAP_SYS_TIME'], calls: words('clock_settime clock_settime64 settimeofday stime') },
  { capabilities: ['CAP_SYS_TTY_CONFIG'], calls: ['vhangup'] },
]

/**
 * Refused with EPERM whatever the capabilities: keys and swap belong to the whole kernel, another kernel is not for
 * a container to load; userfaultfd, io_uring and 16-bit mode were doors out of it before.
 */
export const CLOSED_CALLS = words(`
  add_key keyctl request_key kexec_file_load kexec_load swapoff swapon userfaultfd io_uring_enter io_uring_register
  io_uring_setup vm86 vm86old
`)

/** Decided by their arguments, in `seccomp.ts`. socketcall hides its own behind a pointer. */
export const CALLS_BY_ARGUMENT = words('clone clone3 personality socket socketcall')

/** What today's kernels answer with ENOSYS, or have a table entry for and no code: left to the default, ENOSYS too. */
export const UNUSED_CALLS = words(`
  _sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx nfsservctl prof
  profil putpmsg query_module security stty sysfs tuxcall ulimit uselib ustat vserver
`)
