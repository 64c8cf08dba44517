// SPDX-License-Identifier: Apache-2.0
/** Work inside a new user namespace, which needs a process of its own (user_namespaces(7)). */
#ifndef GANTRY_USERNS_H
#define GANTRY_USERNS_H

#include "addon.h"

typedef struct {
    /** The text of /proc/PID/uid_map and gid_map. */
    const char *uid_map, *gid_map;
    /** In the child, as root of the new namespace with all capabilities there; no allocation, no locks. */
    bool (*inside)(void *memory);
    /** On the calling thread, while the child waits: /proc/PID/ns has what was made. */
    bool (*outside)(void *memory, pid_t child);
    void *memory;
    Fail *fail;
} UsernsWork;

/** True when both succeeded. No process is left in either case, also when ours is killed meanwhile. */
bool in_userns(Arena *arena, UsernsWork *work);

#endif
