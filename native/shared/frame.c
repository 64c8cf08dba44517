// SPDX-License-Identifier: Apache-2.0
// See frame.h.
#include "frame.h"

#include <stdlib.h>
#include <string.h>

void put_u16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void put_u32(uint8_t *p, uint32_t v) {
    put_u16(p, (uint16_t)(v >> 16));
    put_u16(p + 2, (uint16_t)v);
}

void put_u64(uint8_t *p, uint64_t v) {
    put_u32(p, (uint32_t)(v >> 32));
    put_u32(p + 4, (uint32_t)v);
}

uint16_t get_u16(const uint8_t *p) { return (uint16_t)((p[0] << 8) | p[1]); }

uint32_t get_u32(const uint8_t *p) { return ((uint32_t)get_u16(p) << 16) | get_u16(p + 2); }

uint64_t get_u64(const uint8_t *p) { return ((uint64_t)get_u32(p) << 32) | get_u32(p + 4); }

size_t frame_want(struct frame_reader *r, uint8_t **where) {
    if (r->header_len < FRAME_HEADER) {
        *where = r->header + r->header_len;
        return FRAME_HEADER - r->header_len;
    }
    *where = r->payload + r->got;
    return r->len - r->got;
}

int frame_advance(struct frame_reader *r, size_t n) {
    if (r->header_len == FRAME_HEADER) {
        r->got += (uint32_t)n;
        return r->got == r->len;
    }
    r->header_len += (uint32_t)n;
    if (r->header_len < FRAME_HEADER) return 0;
    r->len = get_u32(r->header);
    r->type = r->header[4];
    if (r->len > FRAME_MAX) return -1;
    if (r->len == 0) return 1;
    r->payload = malloc(r->len);
    return r->payload ? 0 : -1;
}

void frame_reset(struct frame_reader *r) {
    free(r->payload);
    memset(r, 0, sizeof *r);
}

void frame_header(uint8_t out[FRAME_HEADER], uint8_t type, uint32_t len) {
    put_u32(out, len);
    out[4] = type;
}

void encode_created(uint8_t out[CREATED_SIZE], int32_t pid, uint64_t ticks) {
    put_u32(out, (uint32_t)pid);
    put_u64(out + 4, ticks);
}

void encode_exit(uint8_t out[EXIT_SIZE], int32_t code, int32_t signal, bool timed_out) {
    put_u32(out, (uint32_t)code);
    put_u32(out + 4, (uint32_t)signal);
    out[8] = timed_out ? EXIT_TIMED_OUT : 0;
}

void encode_status(uint8_t out[STATUS_SIZE], const struct status_info *s) {
    out[0] = 1; // version of the protocol
    out[1] = s->state;
    put_u32(out + 2, (uint32_t)s->pid);
    put_u64(out + 6, s->start_ticks);
    put_u64(out + 14, s->dropped_lines);
    put_u64(out + 22, s->dropped_bytes);
    put_u32(out + 30, s->execs);
    put_u32(out + 34, (uint32_t)s->code);
    put_u32(out + 38, (uint32_t)s->signal);
}

bool decode_exec(const uint8_t *payload, size_t len, struct exec_request *out) {
    if (len <= EXEC_FIXED) return false;
    out->flags = payload[0];
    if (out->flags & ~(FLAG_STDIN | FLAG_STDOUT | FLAG_STDERR | FLAG_TTY)) return false;
    out->timeout_ms = get_u32(payload + 1);
    out->cols = get_u16(payload + 5);
    out->rows = get_u16(payload + 7);
    out->process = payload + EXEC_FIXED;
    out->process_len = len - EXEC_FIXED;
    return true;
}
