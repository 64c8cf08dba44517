// SPDX-License-Identifier: Apache-2.0
/*
 * The system call filter: an allow-list of what the two threads and their libraries use. Everything else
 * answers EPERM, so that a newer libc which probes for a call goes on; what only an intruder would call kills
 * the process, and the parent reports that. Threads may be started, processes may not: clone3 answers ENOSYS,
 * so that libc falls back to clone, whose flags a filter can read.
 */
#include "unpack.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#define LOAD(field)  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define ALLOW(nr)    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##nr, 0, 1), RETURN(SECCOMP_RET_ALLOW)
#define KILL(nr)     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##nr, 0, 1), RETURN(SECCOMP_RET_KILL_PROCESS)

#ifdef ARCH
/* x32 numbers on x86-64 (bit 30 set) match nothing here and answer EPERM. */
static struct sock_filter program[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
    RETURN(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    /* the hot ones first */
    ALLOW(write),
    ALLOW(openat),
    ALLOW(close),
    ALLOW(futex),
    ALLOW(utimensat),
    ALLOW(read),
    ALLOW(fchownat),
    ALLOW(fchmodat),
    ALLOW(fchown),
    ALLOW(fchmod),
    ALLOW(fstat),
    ALLOW(newfstatat),
    ALLOW(openat2),
    ALLOW(mkdirat),
    ALLOW(symlinkat),
    ALLOW(linkat),
    ALLOW(unlinkat),
    ALLOW(mknodat),
    ALLOW(ftruncate),
    ALLOW(lseek),
    ALLOW(fchdir),
    ALLOW(readlinkat),
    ALLOW(getdents64),
    ALLOW(fcntl),
    ALLOW(statx),
    ALLOW(fsetxattr),
    ALLOW(fgetxattr),
    ALLOW(pread64),
    ALLOW(pwrite64),
    ALLOW(lsetxattr),
    ALLOW(fremovexattr),
    ALLOW(lremovexattr),
    /* memory, threads, the end */
    ALLOW(mmap),
    ALLOW(munmap),
    ALLOW(mremap),
    ALLOW(mprotect),
    ALLOW(brk),
    ALLOW(madvise),
    ALLOW(exit),
    ALLOW(exit_group),
    ALLOW(rt_sigprocmask),
    ALLOW(rt_sigaction),
    ALLOW(rt_sigreturn),
    ALLOW(set_robust_list),
    ALLOW(rseq),
    ALLOW(sched_yield),
    ALLOW(restart_syscall),
    ALLOW(getrandom),
    ALLOW(getpid),
    ALLOW(gettid),
    ALLOW(tgkill),
    ALLOW(clock_nanosleep),
    ALLOW(sched_getaffinity),
    ALLOW(prlimit64),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
    RETURN(SECCOMP_RET_ERRNO | ENOSYS),
    KILL(execve),
    KILL(execveat),
    KILL(ptrace),
    KILL(mount),
    KILL(pivot_root),
    KILL(chroot),
    KILL(unshare),
    KILL(setns),
    KILL(socket),
    KILL(bpf),
    KILL(process_vm_writev),
    KILL(init_module),
    KILL(finit_module),
    KILL(kexec_load),
    KILL(open_by_handle_at),
    KILL(userfaultfd),
    KILL(perf_event_open),
    KILL(keyctl),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
    LOAD(args[0]),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
    RETURN(SECCOMP_RET_ALLOW),
    RETURN(SECCOMP_RET_ERRNO | EPERM),
};

int seccomp_enter(void) {
    struct sock_fprog filter = {.len = sizeof program / sizeof program[0], .filter = program};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
}
#else
int seccomp_enter(void) {
    errno = ENOSYS;
    return -1;
}
#endif
