// SPDX-License-Identifier: Apache-2.0
/**
 * A hint to ext4 that the folders of a folder have nothing to do with one another (chattr(1), T): each is
 * then placed where the disk is emptiest, not beside its siblings. Where there is no journal, ext4 steps over
 * the number of every inode that was freed within the last minutes, for each file that it makes beside them:
 * a pull after a large deletion took twice the time. Other file systems have no such hint.
 */
#include "addon.h"
#include "kernel.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

static bool is_unknown(int err) { return err == ENOTTY || err == EOPNOTSUPP || err == EINVAL; }

static bool spread(const char *path, Fail *fail) {
    int flags;
    int fd CLOSES = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fail_set(fail, "open", path);
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        return is_unknown(errno) ? true : fail_set(fail, "FS_IOC_GETFLAGS", path);
    flags |= FS_TOPDIR_FL;
    if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0 && !is_unknown(errno))
        return fail_set(fail, "FS_IOC_SETFLAGS", path);
    return true;
}

MEMBER(gt_spread_folders) {
    Arena arena = {0};
    Args args;
    Fail fail = {0};
    args_begin(&args, env, info, "spreadFolders", &arena);
    char *path = args_path(&args, args.v[0], "path");
    if (!args.failed && !spread(path, &fail)) fail_throw(env, &fail);
    arena_free(&arena);
    return NULL;
}
