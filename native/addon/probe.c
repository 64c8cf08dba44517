// SPDX-License-Identifier: Apache-2.0
/** Asks the kernel which of the newer calls it has, without any effect: each is called in a way it must
 * refuse. */
#include "probe.h"
#include "addon.h"
#include "kernel.h"

static bool has(int rc) { return rc >= 0 || errno != ENOSYS; }

bool probe_lowerdir_plus(void) {
    int fs CLOSES = k_fsopen("overlay");
    if (fs < 0) return false;
    // Before 6.5 overlayfs collected options unread: a kernel that takes nonsense has not looked at the key.
    if (k_fsconfig(fs, K_FSCONFIG_STRING, "gantry-no-such-option", "1") == 0) return false;
    return k_fsconfig(fs, K_FSCONFIG_STRING, "lowerdir+", "/") == 0;
}

static void set(napi_env env, napi_value object, const char *name, bool flag) {
    napi_value value;
    if (napi_get_boolean(env, flag, &value) == napi_ok) napi_set_named_property(env, object, name, value);
}

MEMBER(gt_probe) {
    napi_value object;
    if (napi_create_object(env, &object) != napi_ok) return NULL;
    int pidfd CLOSES = k_pidfd_open(getpid());
    bool has_pidfd = has(pidfd);
    bool calls =
        has(k_fsopen("gantry-no-such-type")) && has(k_open_tree(-1, "", 0)) && has(k_move_mount(-1, ""));
    set(env, object, "newMountApi", calls);
    set(env, object, "lowerdirPlus", probe_lowerdir_plus());
    set(env, object, "mountSetattr", has(k_mount_setattr(-1, 0, &(struct k_mount_attr){0})));
    set(env, object, "openat2", has(k_openat2(-1, "", &(struct k_open_how){0})));
    set(env, object, "pidfd", has_pidfd);
    return object;
}
