// SPDX-License-Identifier: Apache-2.0
// Makes system calls and says how each was answered: "NAME ERRNO" a line, 0 for success. Arguments are chosen so that
// a call that is let through does no harm: most are wrong, so that the kernel answers EINVAL, EBADF or EFAULT.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif

struct call {
    const char *name;
    long number, a, b, c, d, e;
};

static const struct call calls[] = {
    {"unshare", __NR_unshare, CLONE_NEWNS, 0, 0, 0, 0},
    {"unshare-user", __NR_unshare, CLONE_NEWUSER, 0, 0, 0, 0},
    {"setns", __NR_setns, -1, 0, 0, 0, 0},
    {"mount", __NR_mount, 0, 0, 0, 0, 0},
    {"umount2", __NR_umount2, 0, -1, 0, 0, 0},
    {"pivot_root", __NR_pivot_root, 0, 0, 0, 0, 0},
    {"move_mount", __NR_move_mount, -1, 0, -1, 0, -1},
    {"open_tree", __NR_open_tree, -1, 0, -1, 0, 0},
    {"fsopen", __NR_fsopen, 0, -1, 0, 0, 0},
    {"sethostname", __NR_sethostname, 0, -1, 0, 0, 0},
    {"chroot", __NR_chroot, 0, 0, 0, 0, 0},
    {"keyctl", __NR_keyctl, -1, 0, 0, 0, 0},
    {"add_key", __NR_add_key, 0, 0, 0, 0, 0},
    {"request_key", __NR_request_key, 0, 0, 0, 0, 0},
    {"bpf", __NR_bpf, -1, 0, 0, 0, 0},
    {"perf_event_open", __NR_perf_event_open, 0, 0, 0, -1, -1},
    {"userfaultfd", __NR_userfaultfd, -1, 0, 0, 0, 0},
    {"io_uring_setup", __NR_io_uring_setup, 0, 0, 0, 0, 0},
    {"kexec_load", __NR_kexec_load, 0, -1, 0, 0, 0},
    {"init_module", __NR_init_module, 0, 0, 0, 0, 0},
    {"finit_module", __NR_finit_module, -1, 0, -1, 0, 0},
    {"reboot", __NR_reboot, 0, 0, 0, 0, 0},
    {"swapon", __NR_swapon, 0, -1, 0, 0, 0},
    {"acct", __NR_acct, 1, 0, 0, 0, 0},
    {"syslog", __NR_syslog, -1, 0, 0, 0, 0},
    {"open_by_handle_at", __NR_open_by_handle_at, -1, 0, 0, 0, 0},
    {"settimeofday", __NR_settimeofday, 1, 0, 0, 0, 0},
    {"clock_settime", __NR_clock_settime, -1, 0, 0, 0, 0},
    {"mbind", __NR_mbind, 1, 1, -1, 0, 0},
    {"move_pages", __NR_move_pages, -1, 0, 0, 0, -1},
    {"kcmp", __NR_kcmp, -1, -1, -1, 0, 0},
    {"process_madvise", __NR_process_madvise, -1, 0, 0, 0, -1},
    {"quotactl", __NR_quotactl, -1, 0, 0, 0, 0},
    {"vhangup-wrong", __NR_vhangup, 0, 0, 0, 0, 0},
    {"clone3", __NR_clone3, 0, 0, 0, 0, 0},
    {"personality-query", __NR_personality, 0xffffffff, 0, 0, 0, 0},
    {"personality-no-randomize", __NR_personality, 0x40000, 0, 0, 0, 0},
    {"socket-unix", __NR_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0},
    {"socket-inet", __NR_socket, AF_INET, SOCK_DGRAM, 0, 0, 0},
    {"socket-netlink", __NR_socket, AF_NETLINK, SOCK_RAW, 0, 0, 0},
    {"socket-alg", __NR_socket, 38, SOCK_SEQPACKET, 0, 0, 0},
    {"socket-alg-high-bits", __NR_socket, (long)0x100000026, SOCK_SEQPACKET, 0, 0, 0},
    {"socket-vsock", __NR_socket, 40, SOCK_STREAM, 0, 0, 0},
    {"socket-unknown-44", __NR_socket, 44, -1, 0, 0, 0},
    {"fchmodat2-wrong", __NR_fchmodat2, -1, 0, 0, -1, 0},
    {"ptrace-wrong", __NR_ptrace, -1, -1, 0, 0, 0},
    {"memfd_create-wrong", __NR_memfd_create, 0, -1, 0, 0, 0},
    {"no-such-call", 4000, 0, 0, 0, 0, 0},
};

static int clone_with(unsigned long flags) {
    long pid = syscall(__NR_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    if (pid < 0)
        return errno;
    waitpid((pid_t)pid, NULL, 0);
    return 0;
}

int main(void) {
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        const struct call *c = &calls[i];
        // In a child: a call that is let through may change it.
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            long got = syscall(c->number, c->a, c->b, c->c, c->d, c->e);
            printf("%s %d\n", c->name, got < 0 ? errno : 0);
            fflush(stdout);
            _exit(0);
        }
        waitpid(pid, NULL, 0);
    }
    printf("clone 0:%d", clone_with(0));
    for (int bit = 17; bit < 31; bit++)
        if (0x7e020000UL & (1UL << bit))
            printf(" %d:%d", bit, clone_with(1UL << bit));
    printf(" both:%d\n", clone_with(0x10020000UL));
    return 0;
}
