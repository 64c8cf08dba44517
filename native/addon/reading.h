// SPDX-License-Identifier: Apache-2.0
/**
 * One reading each of what the kernel tells in a text. All of them may hang, in the kernel alone; all give
 * the bytes in `text`, or a negative error number.
 */
#ifndef GANTRY_ADDON_READING_H
#define GANTRY_ADDON_READING_H

#include <stdatomic.h>
#include <sys/types.h>

enum { TEXT_MAX = 64 << 10 };

/**
 * A file, whole, opened with `flags` too: O_NONBLOCK where it may be none of the kernel's. `text` has room
 * for TEXT_MAX + 1.
 */
ssize_t file_read(const char *path, int flags, char *text);

/**
 * `processes descriptors sockets` of the processes that a cgroup.procs names; `progress` counts them. A
 * process that has gone meanwhile has none. `text` has room for TEXT_MAX + 1.
 */
ssize_t processes_read(const char *path, char *text, atomic_uint *progress);

/**
 * The interfaces of the network namespace in which the rtnetlink socket was made, a line each: the name, then
 * bytes, packets, errors and drops received, then the same sent. Nobody else may use the socket meanwhile.
 */
ssize_t links_read(int socket, char *text, size_t room, char *buffer, size_t buffer_size);

#endif
