// SPDX-License-Identifier: Apache-2.0
/*
 * Reads the record of a layer, operation by operation. gantry wrote it, but disks lose and people edit: every
 * length is checked, and what is no whole record is one clear failure. See record.h for the form.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

static int damaged(const char *how) {
    return fail(KIND_CORRUPT, STAGE_READ, NULL, "the layer's record %s", how);
}

int replay_open(struct replay *r, const char *path) {
    *r = (struct replay){.fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
    if (r->fd >= 0) return 0;
    return fail(errno == ENOENT ? KIND_CORRUPT : KIND_INTERNAL, STAGE_READ, NULL, "open the record %s: %s",
                path, strerror(errno));
}

int replay_start(struct replay *r) {
    uint32_t words[RECORD_HEAD / 4] = {0};
    ssize_t n = read(r->fd, words, sizeof words);
    if (n < 0) return fail_errno(STAGE_READ, NULL, "read the layer's record");
    if (n != sizeof words || words[0] != RECORD_FRAME || words[1] != 8 || words[2] != RECORD_MAGIC)
        return damaged("is none that this program wrote");
    r->flags = words[3];
    if (!(r->flags & RECORD_WHOLE)) return damaged("was not written to its end");
    r->z = ZSTD_createDCtx();
    r->plain = malloc(2 * RECORD_BUFFER);
    if (!r->z || !r->plain) return fail_errno(STAGE_READ, NULL, "make ready for the layer's record");
    ZSTD_DCtx_setParameter(r->z, ZSTD_d_windowLogMax, RECORD_WINDOW + 1);
    r->packed = r->plain + RECORD_BUFFER;
    return 0;
}

void replay_end(struct replay *r) {
    ZSTD_freeDCtx(r->z);
    free(r->plain);
    close(r->fd);
}

/* Refills `plain`, which is empty. 1: bytes, 0: the end of the file, -1: failed. */
static int fill(struct replay *r) {
    for (;;) {
        ZSTD_inBuffer from = {r->packed, r->packed_end, r->packed_at};
        ZSTD_outBuffer into = {r->plain, RECORD_BUFFER, 0};
        size_t code = ZSTD_decompressStream(r->z, &into, &from);
        if (ZSTD_isError(code)) return damaged("is damaged");
        r->packed_at = from.pos;
        r->at = 0;
        r->end = into.pos;
        if (into.pos) return 1;
        if (r->packed_at < r->packed_end) continue;
        ssize_t n = read(r->fd, r->packed, RECORD_BUFFER);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(STAGE_READ, NULL, "read the layer's record");
        if (n == 0) return 0;
        r->packed_at = 0;
        r->packed_end = (size_t)n;
    }
}

static int get(struct replay *r, void *out, size_t n) {
    for (size_t done = 0; done < n;) {
        if (r->at == r->end) {
            int more = fill(r);
            if (more <= 0) return more < 0 ? -1 : damaged("is cut short");
        }
        size_t take = r->end - r->at < n - done ? r->end - r->at : n - done;
        memcpy((char *)out + done, r->plain + r->at, take);
        r->at += take;
        done += take;
    }
    return 0;
}

static int get_path(struct replay *r) {
    uint16_t n;
    if (get(r, &n, sizeof n) < 0) return -1;
    if (n >= MAX_PATH) return damaged("is damaged");
    r->path[n] = 0;
    return get(r, r->path, n);
}

int replay_raw(struct replay *r, const uint8_t **data, size_t *n) {
    static const uint8_t zeros[4096];
    if (r->length == 0) return 0;
    if (r->zeros) {
        *n = r->length < sizeof zeros ? (size_t)r->length : sizeof zeros;
        *data = zeros;
        r->length -= *n;
        return 1;
    }
    if (r->at == r->end) {
        int more = fill(r);
        if (more <= 0) return more < 0 ? -1 : damaged("is cut short");
    }
    *n = r->end - r->at < r->length ? r->end - r->at : (size_t)r->length;
    *data = r->plain + r->at;
    r->at += *n;
    r->length -= *n;
    return 1;
}

int replay_next(struct replay *r, char *op) {
    uint32_t length;
    struct fact *f = &r->fact;
    const uint8_t *data;
    size_t n;
    int more;
    while ((more = replay_raw(r, &data, &n)) == 1) continue; /* what nobody wanted of an R */
    if (more < 0 || get(r, op, 1) < 0) return -1;
    switch (*op) {
    case 'R':
    case 'N':
        r->zeros = *op == 'N';
        if (get(r, &length, 4) < 0) return -1;
        r->length = length;
        return 0;
    case 'E':
    case 'W':
        if (get(r, &f->type, 1) < 0 || get(r, &f->mode, 4) < 0 || get(r, &f->uid, 4) < 0 ||
            get(r, &f->gid, 4) < 0 || get(r, &f->size, 8) < 0 || get(r, &f->rdev, 8) < 0)
            return -1;
        return get_path(r);
    case 'P':
        return get(r, &r->offset, 8) < 0 ? -1 : get(r, &r->payload, 8);
    case 'L':
        return get_path(r);
    case 'Z':
        if (get(r, &r->total, 8) < 0) return -1;
        more = r->at == r->end ? fill(r) : 1; /* the end of the frame has the checksum */
        return more == 0 ? 0 : more < 0 ? -1 : damaged("is damaged");
    default:
        return damaged("is damaged");
    }
}
