// SPDX-License-Identifier: Apache-2.0
// Small I/O for the C programs: whole writes, capped reads, atomic replacement, unix sockets whose path is
// longer than sun_path (through /proc/self/fd), and a descriptor over a socket. No policy, no logging.
#ifndef GANTRY_IO_H
#define GANTRY_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** Closes and sets to -1; does nothing for -1. */
void close_fd(int *fd);
/** Writes everything or returns false with errno. */
bool write_all(int fd, const void *data, size_t len);
/** Reads at most `cap - 1` bytes of a file below `dir` (AT_FDCWD allowed) and ends them with NUL; -1 on
 * error. */
ssize_t read_file_at(int dir, const char *name, char *buf, size_t cap);
/** The last `cap - 1` bytes of a file, NUL-terminated; -1 on error. */
ssize_t read_tail_at(int dir, const char *name, char *buf, size_t cap);
/** Writes one string to an existing file (proc, cgroup). */
bool write_string(const char *path, const char *text);
/** temp + fsync + rename + fsync of the folder, mode 0600. Returns 0 or -errno; the temp file never stays. */
int replace_file(const char *path, const char *text, size_t len);
/** Listening unix socket `dir`/`name`, mode 0600; an old one is removed first. -1 with errno. */
int listen_at(int dir, const char *name, int backlog);
/** One descriptor that a peer sent with SCM_RIGHTS; -1 when there is none. Never blocks. */
int recv_fd(int sock);
/** Decimal number of a short file below `dir`, e.g. a pid file; 0 if there is none. */
long read_number_at(int dir, const char *name);
int64_t monotonic_ms(void);

#endif
