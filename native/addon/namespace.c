// SPDX-License-Identifier: Apache-2.0
/**
 * Pinned namespaces. unshare() acts on one thread, and a pool thread that called it would stay inside; so a
 * thread of its own makes the namespaces, binds its entries of /proc/thread-self/ns onto the pin files, sets
 * them up from within and ends. With a user namespace a child of userns.c makes and sets them up, so that
 * they belong to it. Whatever was pinned before a failure is unpinned again. PID namespaces are not made
 * here.
 */
#include "addon.h"
#include "kernel.h"
#include "userns.h"

#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/vfs.h>

enum { NET, IPC, UTS, USER, KINDS, STACKED_MAX = 16 };

static const struct {
    const char *option; // also the name below /proc/PID/ns
    int flag;           // of unshare; the user namespace comes with the child
} KIND[KINDS] = {[NET] = {"net", CLONE_NEWNET},
                 [IPC] = {"ipc", CLONE_NEWIPC},
                 [UTS] = {"uts", CLONE_NEWUTS},
                 [USER] = {"user", 0}};

typedef struct {
    Job job;
    char *pin[KINDS];
    bool created[KINDS];
    char *hostname, *uid_map, *gid_map;
    bool loopback;
    uint32_t sysctls;
    char **key, **value;
} NamespaceJob;

static bool unpin(const char *path, Fail *fail) {
    for (int i = 0; i < STACKED_MAX; i++) {
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) continue;
        if (errno == EINVAL || errno == ENOENT || errno == ENOTDIR) break;
        return fail_set(fail, "umount2", path);
    }
    return unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR || fail_set(fail, "unlink", path);
}

/** An existing file is fine (a crash between create and bind leaves one), an existing pin is somebody's
 * namespace. */
static bool pin_file(const char *path, bool *created, Fail *fail) {
    struct statfs fs;
    int fd CLOSES = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0) return fail_set(fail, "open", path);
    if (fstatfs(fd, &fs) < 0) return fail_set(fail, "fstatfs", path);
    if (fs.f_type == NSFS_MAGIC) return fail_code(fail, EEXIST, "open", path);
    *created = true;
    return true;
}

static bool pin_all(NamespaceJob *ns, const char *process) {
    Fail *fail = &ns->job.fail;
    char source[64];
    for (int i = 0; i < KINDS; i++) {
        if (!ns->pin[i]) continue;
        if (!pin_file(ns->pin[i], &ns->created[i], fail)) return false;
        snprintf(source, sizeof source, "/proc/%s/ns/%s", process, KIND[i].option);
        if (mount(source, ns->pin[i], NULL, MS_BIND, NULL) < 0) return fail_set(fail, "mount", ns->pin[i]);
    }
    return true;
}

static bool loopback_up(Fail *fail) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd CLOSES = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail_set(fail, "socket", NULL);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return fail_set(fail, "ioctl(SIOCGIFFLAGS)", "lo");
    request.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request) == 0 || fail_set(fail, "ioctl(SIOCSIFFLAGS)", "lo");
}

static bool write_sysctl(const char *path, const char *value, Fail *fail) {
    size_t length = strlen(value);
    int fd CLOSES = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return fail_set(fail, "open", path);
    ssize_t n = write(fd, value, length);
    if (n < 0) return fail_set(fail, "write", path);
    return (size_t)n == length || fail_code(fail, EIO, "write", path);
}

static bool make(NamespaceJob *ns) {
    int flags = 0;
    for (int i = 0; i < KINDS; i++)
        if (ns->pin[i]) flags |= KIND[i].flag;
    return unshare(flags) == 0 || fail_set(&ns->job.fail, "unshare", NULL);
}

static bool configure(NamespaceJob *ns) {
    Fail *fail = &ns->job.fail;
    if (ns->loopback && !loopback_up(fail)) return false;
    if (ns->hostname && sethostname(ns->hostname, strlen(ns->hostname)) < 0)
        return fail_set(fail, "sethostname", NULL);
    for (uint32_t i = 0; i < ns->sysctls; i++)
        if (!write_sysctl(ns->key[i], ns->value[i], fail)) return false;
    return true;
}

static void undo(NamespaceJob *ns) {
    Fail ignored = {0};
    for (int i = KINDS - 1; i >= 0; i--)
        if (ns->created[i]) unpin(ns->pin[i], &ignored);
}

static bool in_child(void *memory) { return make(memory) && configure(memory); }

static bool pin_child(void *memory, pid_t child) {
    char process[16];
    snprintf(process, sizeof process, "%d", child);
    return pin_all(memory, process);
}

static bool set_up(NamespaceJob *ns) {
    if (!ns->pin[USER]) return make(ns) && pin_all(ns, "thread-self") && configure(ns);
    return in_userns(&ns->job.arena, &(UsernsWork){.uid_map = ns->uid_map,
                                                   .gid_map = ns->gid_map,
                                                   .inside = in_child,
                                                   .outside = pin_child,
                                                   .memory = ns,
                                                   .fail = &ns->job.fail});
}

static void *inside(void *memory) {
    NamespaceJob *ns = memory;
    if (!set_up(ns)) undo(ns);
    return NULL;
}

static bool run_create(Job *job) { return job_on_thread(job, inside); }

static void read_sysctls(Args *args, NamespaceJob *ns, napi_value list) {
    uint32_t count = args_length(args, list, "sysctls", 4096);
    if (args->failed) return;
    ns->key = arena_alloc(args->arena, (count + 1) * sizeof *ns->key);
    ns->value = arena_alloc(args->arena, (count + 1) * sizeof *ns->value);
    if (!ns->key || !ns->value) return args_fail(args, "memory", "available");
    for (uint32_t i = 0; i < count && !args->failed; i++) {
        napi_value entry = args_item(args, list, i);
        args_length(args, entry, "sysctls[]", 2);
        ns->key[i] = args_path(args, args_item(args, entry, 0), "sysctls[][0]");
        ns->value[i] = args_string(args, args_item(args, entry, 1), "sysctls[][1]");
        if (!args->failed && (strncmp(ns->key[i], "/proc/sys/", 10) != 0 || strstr(ns->key[i], "/..")))
            args_fail(args, "sysctls[][0]", "a path below /proc/sys/");
    }
    ns->sysctls = count;
}

MEMBER(gt_create_namespaces) {
    Args args;
    NamespaceJob *ns = job_new(&args, env, info, "createNamespaces", sizeof *ns);
    if (!ns) return NULL;
    for (int i = 0; i < KINDS; i++) ns->pin[i] = args_opt_path(&args, args.v[0], KIND[i].option);
    ns->hostname = args_opt_string(&args, args.v[0], "hostname");
    ns->loopback = args_flag(&args, args.v[0], "loopback");
    napi_value sysctls = args_member(&args, args.v[0], "sysctls");
    if (sysctls) read_sysctls(&args, ns, sysctls);
    ns->uid_map = args_opt_string(&args, args.v[0], "uidMap");
    ns->gid_map = args_opt_string(&args, args.v[0], "gidMap");
    if (!ns->pin[NET] && !ns->pin[IPC] && !ns->pin[UTS] && !ns->pin[USER])
        args_fail(&args, "net, ipc, uts or user", "given");
    if (!ns->pin[USER] != !ns->uid_map || !ns->uid_map != !ns->gid_map)
        args_fail(&args, "user, uidMap and gidMap", "given together");
    // Without a namespace of their own these would change the machine's.
    if (ns->hostname && !ns->pin[UTS]) args_fail(&args, "hostname", "given together with uts");
    if (ns->loopback && !ns->pin[NET]) args_fail(&args, "loopback", "given together with net");
    return job_queue(&args, ns, run_create);
}

typedef struct {
    Job job;
    char *path;
} UnpinJob;

static bool run_unpin(Job *job) { return unpin(((UnpinJob *)job)->path, &job->fail); }

MEMBER(gt_unpin_namespace) {
    Args args;
    UnpinJob *job = job_new(&args, env, info, "unpinNamespace", sizeof *job);
    if (!job) return NULL;
    job->path = args_path(&args, args.v[0], "path");
    return job_queue(&args, job, run_unpin);
}
