// SPDX-License-Identifier: Apache-2.0
/*
 * What the sandbox of gantry-unpack takes away, tried from inside: enters it as the program does and then
 * does one forbidden thing. `unpack_probe MODE DIR PROBE` prints what the kernel answered, or is killed by
 * it.
 */
#include "../unpack/record.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct tree tree = {.root = -1, .parent = {.fd = -1}};

static long try(const char *what) {
    struct rlimit limit = {.rlim_max = 0};
    errno = 0;
    if (strcmp(what, "nothing") == 0) return 0;
    if (strcmp(what, "socket") == 0) return socket(AF_INET, SOCK_STREAM, 0);
    if (strcmp(what, "execve") == 0) return syscall(SYS_execve, "/bin/true", NULL, NULL);
    if (strcmp(what, "fork") == 0) return fork();
    if (strcmp(what, "clone") == 0) return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (strcmp(what, "clone3") == 0) return syscall(SYS_clone3, NULL, 0);
    if (strcmp(what, "mount") == 0) return mount("none", "/", "tmpfs", 0, NULL);
    if (strcmp(what, "unshare") == 0) return unshare(CLONE_NEWUSER);
    if (strcmp(what, "setns") == 0) return syscall(SYS_setns, 0, 0);
    if (strcmp(what, "ptrace") == 0) return ptrace(PTRACE_TRACEME, 0, 0, 0);
    if (strcmp(what, "chroot") == 0) return chroot(".");
    if (strcmp(what, "bpf") == 0) return syscall(SYS_bpf, 0, NULL, 0);
    if (strcmp(what, "handle") == 0) return syscall(SYS_open_by_handle_at, 0, NULL, 0);
    if (strcmp(what, "kill") == 0) return kill(1, 0);
    if (strcmp(what, "setuid") == 0) return setuid(0);
    if (strcmp(what, "rename") == 0) return rename("a", "b");
    if (strcmp(what, "outside") == 0) return open("/../../etc/passwd", O_RDONLY);
    if (strcmp(what, "proc") == 0) return open("/proc/self/status", O_RDONLY);
    if (strcmp(what, "link-out") == 0) return tree_open(&tree, "out", 3);
    if (strcmp(what, "up-out") == 0) return tree_open(&tree, "../../etc", 9);
    if (strcmp(what, "device") == 0) {
        int made = mknod("/null", S_IFCHR | 0600, 0x103);
        return made < 0 ? made : open("/null", O_RDONLY);
    }
    if (strcmp(what, "write") == 0) return open("/file", O_WRONLY | O_CREAT, 0600);
    if (strcmp(what, "files") == 0) return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? -1 : (long)limit.rlim_max;
    if (strcmp(what, "core") == 0) return getrlimit(RLIMIT_CORE, &limit) < 0 ? -1 : (long)limit.rlim_max;
    if (strcmp(what, "fsize") == 0) return getrlimit(RLIMIT_FSIZE, &limit) < 0 ? -1 : (long)limit.rlim_max;
    if (strcmp(what, "memory") == 0) return malloc((size_t)600 << 20) ? 0 : -1;
    errno = ENOTSUP;
    return -1;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct options o = {.into = argv[2], .max_bytes = 12345};
    o.mode = strcmp(argv[1], "unpack") == 0 ? MODE_UNPACK
             : strcmp(argv[1], "pack") == 0 ? MODE_PACK
                                            : MODE_VERIFY;
    if (sandbox_enter(&tree, &o) < 0) fail_exit();
    long got = try(argv[3]);
    if (got < 0)
        dprintf(STDOUT_FILENO, "%s\n", strerrorname_np(errno));
    else
        dprintf(STDOUT_FILENO, "%ld\n", got);
    _exit(0);
}
