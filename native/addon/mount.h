// SPDX-License-Identifier: Apache-2.0
/** What the files about mounts share. */
#ifndef GANTRY_MOUNT_H
#define GANTRY_MOUNT_H

#include "addon.h"

/** MS_* flags of a propagation's name; 0 with failed arguments. */
unsigned long mount_propagation(Args *args, napi_value value);
/** A descriptor of the target itself, and in `path` (32 bytes) a name of it that follows no link; -1 with
 * `fail`. */
int mount_target(const char *target, char *path, size_t size, Fail *fail);

#endif
