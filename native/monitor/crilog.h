// SPDX-License-Identifier: Apache-2.0
// The CRI log of one container: `<RFC3339Nano> stdout|stderr F|P <content>\n`. Splits bytes into lines
// (pieces of at most 16 KiB), writes whole lines only, drops and counts what the file system refuses, reopens
// on request. Never blocks on anything but the file itself, never exits, keeps no opinion about rotation.
#ifndef GANTRY_CRILOG_H
#define GANTRY_CRILOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRILOG_PIECE 16384u

struct crilog {
    const char *path; // NULL: everything is dropped and nothing is counted
    int fd;
    bool tight;             // the last write fell short: ask for room before the next
    uint64_t dropped_lines; // log lines (pieces) that the file system refused
    uint64_t dropped_bytes; // their content, without the prefix
};

struct crilog_stream {
    const char *name; // "stdout" or "stderr"
    size_t len;       // the unfinished line, always <= CRILOG_PIECE
    char pending[CRILOG_PIECE];
};

/**
 * Opens (or creates, 0640) the file and only then closes the old one. A dangling symbolic link at the path is
 * removed first. 0 or -errno; on failure the old file stays in use.
 */
int crilog_open(struct crilog *log);
/** Takes `n` bytes of a stream and writes every line that is now whole. */
void crilog_feed(struct crilog *log, struct crilog_stream *s, const char *data, size_t n);
/** End of the stream: an unfinished line is written as `P`, nothing is added to it. */
void crilog_finish(struct crilog *log, struct crilog_stream *s);

#endif
