// SPDX-License-Identifier: Apache-2.0
/**
 * The table of members and the environment's life. Does nothing else: each member is in the file of its
 * concern, the contract of all is src/host/native.ts.
 */
#include "addon.h"

#define METHOD(js, c)                                                                                        \
    { js, NULL, c, NULL, NULL, NULL, napi_enumerable, NULL }

static const napi_property_descriptor MEMBERS[] = {
    METHOD("spawn", gt_spawn),
    METHOD("pidfdOpen", gt_pidfd_open),
    METHOD("pidfdSignal", gt_pidfd_signal),
    METHOD("pidfdWait", gt_pidfd_wait),
    METHOD("pipe", gt_pipe),
    METHOD("socketpair", gt_socketpair),
    METHOD("close", gt_close),
    METHOD("flock", gt_flock),
    METHOD("peerCred", gt_peer_cred),
    METHOD("sendFds", gt_send_fds),
    METHOD("recvFds", gt_recv_fds),
    METHOD("syncfs", gt_syncfs),
    METHOD("createNamespaces", gt_create_namespaces),
    METHOD("unpinNamespace", gt_unpin_namespace),
    METHOD("socketInNetns", gt_socket_in_netns),
    METHOD("mountOverlay", gt_mount_overlay),
    METHOD("bind", gt_bind),
    METHOD("mount", gt_mount),
    METHOD("umount", gt_umount),
    METHOD("setPropagation", gt_set_propagation),
    METHOD("readInRoot", gt_read_in_root),
    METHOD("mkdirInRoot", gt_mkdir_in_root),
    METHOD("readMany", gt_read_many),
    METHOD("readGroups", gt_read_groups),
    METHOD("writeFile", gt_write_file),
    METHOD("statfs", gt_statfs),
    METHOD("spreadFolders", gt_spread_folders),
    METHOD("removeTree", gt_remove_tree),
    METHOD("treeUsage", gt_tree_usage),
    METHOD("isOpaque", gt_is_opaque),
    METHOD("trimMemory", gt_trim_memory),
    METHOD("probe", gt_probe),
    METHOD("notify", gt_notify),
    METHOD("watchLoop", gt_watch_loop),
};

NAPI_MODULE_INIT() {
    napi_value abi;
    if (!env_begin(env)) {
        napi_throw_error(env, NULL, "gantry.node: the environment cannot be set up");
        return NULL;
    }
    if (napi_create_int32(env, GANTRY_ABI, &abi) != napi_ok ||
        napi_set_named_property(env, exports, "abi", abi) != napi_ok ||
        napi_define_properties(env, exports, sizeof MEMBERS / sizeof *MEMBERS, MEMBERS) != napi_ok)
        return NULL;
    return exports;
}
