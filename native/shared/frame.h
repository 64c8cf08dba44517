// SPDX-License-Identifier: Apache-2.0
// Frames of the control socket: `u32 length of payload, big-endian | u8 type | payload`. Owns the numbers of
// PROTOCOL.md, an incremental reader that asks for exactly the bytes it still needs, and big-endian helpers.
// Does no I/O and knows no connection.
#ifndef GANTRY_FRAME_H
#define GANTRY_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER 5u
#define FRAME_MAX    (1024u * 1024u)

enum frame_type {
    // from the client
    FRAME_STATUS_GET = 0x01,
    FRAME_REOPEN_LOG = 0x02,
    FRAME_RESIZE = 0x03,
    FRAME_ATTACH = 0x04,
    FRAME_EXEC = 0x05,
    FRAME_STDIN = 0x06,
    FRAME_STDIN_EOF = 0x07,
    FRAME_SIGNAL = 0x08,
    // from the monitor
    FRAME_CREATED = 0x81,
    FRAME_FAILED = 0x82,
    FRAME_STATUS = 0x83,
    FRAME_OK = 0x84,
    FRAME_ERROR = 0x85,
    FRAME_STARTED = 0x86,
    FRAME_STDOUT = 0x87,
    FRAME_STDERR = 0x88,
    FRAME_EXIT = 0x89,
};

enum stream_flags {
    FLAG_STDIN = 1,
    FLAG_STDOUT = 2,
    FLAG_STDERR = 4,
    FLAG_TTY = 8,
};

#define EXIT_TIMED_OUT 1u

/** One frame being read. Zero-initialised is ready; `payload` is owned and freed by frame_reset. */
struct frame_reader {
    uint8_t header[FRAME_HEADER];
    uint32_t header_len;
    uint32_t got;
    uint32_t len;
    uint8_t type;
    uint8_t *payload;
};

/** Where the next bytes go and how many are wanted (at least 1). */
size_t frame_want(struct frame_reader *r, uint8_t **where);
/** `n` wanted bytes arrived. 1: the frame is whole; 0: more is wanted; -1: too large or no memory. */
int frame_advance(struct frame_reader *r, size_t n);
/** Frees the payload and makes ready for the next frame. */
void frame_reset(struct frame_reader *r);

void frame_header(uint8_t out[FRAME_HEADER], uint8_t type, uint32_t len);

void put_u16(uint8_t *p, uint16_t v);
void put_u32(uint8_t *p, uint32_t v);
void put_u64(uint8_t *p, uint64_t v);
uint16_t get_u16(const uint8_t *p);
uint32_t get_u32(const uint8_t *p);
uint64_t get_u64(const uint8_t *p);

/** Payload sizes with a fixed form. */
#define CREATED_SIZE 12u
#define EXEC_FIXED   9u
#define EXIT_SIZE    9u
#define STATUS_SIZE  42u
#define FAILED_FIXED 5u

enum fail_stage { STAGE_SETUP = 1, STAGE_LOG = 2, STAGE_CREATE = 3, STAGE_ABORTED = 4, STAGE_EXEC = 5 };

struct status_info {
    uint8_t state; // 0 creating, 1 live, 2 exited
    int32_t pid;
    uint64_t start_ticks;
    uint64_t dropped_lines;
    uint64_t dropped_bytes;
    uint32_t execs;
    int32_t code;
    int32_t signal;
};

void encode_created(uint8_t out[CREATED_SIZE], int32_t pid, uint64_t ticks);
void encode_exit(uint8_t out[EXIT_SIZE], int32_t code, int32_t signal, bool timed_out);
void encode_status(uint8_t out[STATUS_SIZE], const struct status_info *s);

struct exec_request {
    uint8_t flags;
    uint32_t timeout_ms;
    uint16_t cols, rows;
    const uint8_t *process;
    size_t process_len;
};

/** false: too short, unknown flags, or no process. */
bool decode_exec(const uint8_t *payload, size_t len, struct exec_request *out);

#endif
