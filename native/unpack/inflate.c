// SPDX-License-Identifier: Apache-2.0
/*
 * The producer thread: reads the blob, digests it, tells the compression by its first bytes and inflates into
 * the ring. Counts both sides: more blob than declared, more tar than allowed, or a bomb's ratio ends it at
 * once. The blob is always read and digested to its end, whatever the archive inside says.
 */
#include "unpack.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

struct input {
    struct producer *p;
    uint8_t *buffer; /* SLOT_BYTES */
    size_t at, end;
    bool eof;
};

struct output {
    struct producer *p;
    uint8_t *slot;
    size_t used;
    uint64_t total;
};

/* Reads once, behind what is there. 1: more bytes, 0: the blob ended with the right size, -1: failed. */
static int input_more(struct input *in) {
    struct producer *p = in->p;
    uint64_t declared = p->options->size;
    if (in->eof) return 0;
    if (in->at == in->end) in->at = in->end = 0;
    ssize_t n;
    do n = read(STDIN_FILENO, in->buffer + in->end, SLOT_BYTES - in->end);
    while (n < 0 && errno == EINTR);
    if (n < 0) return fail_errno(STAGE_READ, NULL, "read the blob");
    if (n == 0) {
        in->eof = true;
        if (p->got < declared)
            return fail(KIND_CORRUPT, STAGE_READ, NULL, "the blob ended after %llu of %llu bytes",
                        (unsigned long long)p->got, (unsigned long long)declared);
        return 0;
    }
    p->got += (uint64_t)n;
    if (p->got > declared)
        return fail(KIND_CORRUPT, STAGE_READ, NULL, "the blob is longer than the declared %llu bytes",
                    (unsigned long long)declared);
    if (digest_add(&p->digest, in->buffer + in->end, (size_t)n) < 0) return -1;
    in->end += (size_t)n;
    return 1;
}

static uint8_t *output_room(struct output *out, size_t *room) {
    if (!out->slot && !(out->slot = ring_slot(out->p->ring)))
        return NULL; /* the consumer failed and has said why */
    *room = SLOT_BYTES - out->used;
    return out->slot + out->used;
}

static int output_add(struct output *out, size_t n) {
    const struct options *o = out->p->options;
    out->used += n;
    out->total += n;
    if (out->total > o->max_bytes)
        return fail(KIND_EXHAUSTED, STAGE_INFLATE, NULL, "the layer expands beyond the limit of %llu bytes",
                    (unsigned long long)o->max_bytes);
    if (o->max_ratio && out->total > RATIO_FLOOR && (out->total - RATIO_FLOOR) / o->max_ratio > out->p->got)
        return fail(KIND_EXHAUSTED, STAGE_INFLATE, NULL,
                    "the layer expands more than %llu times (%llu bytes from %llu so far): refused as a bomb",
                    (unsigned long long)o->max_ratio, (unsigned long long)out->total,
                    (unsigned long long)out->p->got);
    if (out->used == SLOT_BYTES) {
        ring_publish(out->p->ring, out->used);
        out->slot = NULL;
        out->used = 0;
    }
    return 0;
}

static const char *gzip_problem(int code) {
    switch (code) {
    case ISAL_INVALID_WRAPPER:
        return "bytes that are no gzip header";
    case ISAL_UNSUPPORTED_METHOD:
        return "a gzip member that is not deflate";
    case ISAL_INCORRECT_CHECKSUM:
        return "a wrong gzip checksum";
    default:
        return "damaged deflate data";
    }
}

/* One call of the decoder. Sets *stalled when it can only go on with more input. */
static int gzip_step(struct inflate_state *z, struct input *in, struct output *out, bool *stalled) {
    size_t room;
    uint8_t *to = output_room(out, &room);
    if (!to) return -1;
    z->next_in = in->buffer + in->at;
    z->avail_in = (uint32_t)(in->end - in->at);
    z->next_out = to;
    z->avail_out = (uint32_t)room;
    int code = isal_inflate(z);
    if (code < 0 || code == ISAL_NEED_DICT)
        return fail(KIND_CORRUPT, STAGE_INFLATE, NULL, "%s near byte %llu of the blob", gzip_problem(code),
                    (unsigned long long)out->p->got);
    in->at = in->end - z->avail_in;
    *stalled = z->avail_out > 0 && z->avail_in == 0;
    return output_add(out, room - z->avail_out);
}

static int inflate_gzip(struct input *in, struct output *out) {
    struct inflate_state *z = malloc(sizeof *z);
    if (!z) return fail_errno(STAGE_INFLATE, NULL, "allocate the inflater");
    int result = -1;
    isal_inflate_init(z);
    z->crc_flag = ISAL_GZIP;
    for (;;) {
        bool stalled = false;
        if (gzip_step(z, in, out, &stalled) < 0) break;
        bool whole = z->block_state == ISAL_BLOCK_FINISH;
        if (!whole && !stalled) continue;
        int more = in->at < in->end ? 1 : input_more(in);
        if (more <= 0) {
            if (more == 0 && !whole)
                fail(KIND_CORRUPT, STAGE_INFLATE, NULL, "the gzip stream is cut short");
            else
                result = more;
            break;
        }
        if (whole) { /* the next member */
            isal_inflate_reset(z);
            z->crc_flag = ISAL_GZIP;
        }
    }
    free(z);
    return result;
}

static int inflate_zstd(struct input *in, struct output *out) {
    ZSTD_DCtx *z = ZSTD_createDCtx();
    if (!z || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)))
        return fail(KIND_INTERNAL, STAGE_INFLATE, NULL, "libzstd cannot be set up");
    int result = -1;
    size_t hint = 0;
    for (;;) {
        size_t room;
        uint8_t *to = output_room(out, &room);
        if (!to) break;
        ZSTD_inBuffer from = {in->buffer + in->at, in->end - in->at, 0};
        ZSTD_outBuffer into = {to, room, 0};
        size_t code = ZSTD_decompressStream(z, &into, &from);
        if (ZSTD_isError(code)) {
            /* A window above the cap is refused by size of memory, the rest is damage. */
            bool window = strstr(ZSTD_getErrorName(code), "memory") != NULL;
            fail(window ? KIND_UNSUPPORTED : KIND_CORRUPT, STAGE_INFLATE, NULL,
                 "zstd near byte %llu of the blob: %s", (unsigned long long)out->p->got,
                 ZSTD_getErrorName(code));
            break;
        }
        if (from.pos || into.pos) /* a call that moved nothing says nothing about the frame */
            hint = code;
        in->at += from.pos;
        if (output_add(out, into.pos) < 0) break;
        if (in->at < in->end || (into.pos == room && hint != 0)) continue;
        int more = input_more(in);
        if (more > 0) continue;
        if (more == 0 && hint != 0)
            fail(KIND_CORRUPT, STAGE_INFLATE, NULL, "the zstd stream is cut short");
        else
            result = more;
        break;
    }
    ZSTD_freeDCtx(z);
    return result;
}

static int copy_plain(struct input *in, struct output *out) {
    for (;;) {
        while (in->at < in->end) {
            size_t room, n = in->end - in->at;
            uint8_t *to = output_room(out, &room);
            if (!to) return -1;
            if (n > room) n = room;
            memcpy(to, in->buffer + in->at, n);
            in->at += n;
            if (output_add(out, n) < 0) return -1;
        }
        int more = input_more(in);
        if (more <= 0) return more;
    }
}

static int inflate_any(struct input *in, struct output *out) {
    while (in->end < 4) {
        int more = input_more(in);
        if (more < 0) return -1;
        if (more == 0) break;
    }
    const uint8_t *m = in->buffer;
    if (in->end >= 3 && m[0] == 0x1f && m[1] == 0x8b && m[2] == 8) return inflate_gzip(in, out);
    bool frame = in->end >= 4 && m[0] == 0x28 && m[1] == 0xb5 && m[2] == 0x2f && m[3] == 0xfd;
    bool skippable = in->end >= 4 && (m[0] & 0xf0) == 0x50 && m[1] == 0x2a && m[2] == 0x4d && m[3] == 0x18;
    if (frame || skippable) return inflate_zstd(in, out);
    if ((in->end >= 3 && memcmp(m, "BZh", 3) == 0) || (in->end >= 4 && memcmp(m,
                                                                              "\xfd"
                                                                              "7zX",
                                                                              4) == 0))
        return fail(KIND_UNSUPPORTED, STAGE_INFLATE, NULL,
                    "bzip2 and xz layers are not supported: use gzip or zstd");
    out->p->plain = true;
    return copy_plain(in, out);
}

void *producer_main(void *arg) {
    struct producer *p = arg;
    struct input in = {.p = p, .buffer = malloc(SLOT_BYTES)};
    struct output out = {.p = p};
    int result =
        in.buffer ? inflate_any(&in, &out) : fail_errno(STAGE_READ, NULL, "allocate the read buffer");
    if (result == 0) result = digest_end(&p->digest, p->blob_digest);
    free(in.buffer);
    if (result == 0) {
        if (out.used) ring_publish(p->ring, out.used);
        ring_finish(p->ring);
    } else {
        ring_break(p->ring);
    }
    return NULL;
}
