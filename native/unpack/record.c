// SPDX-License-Identifier: Apache-2.0
/*
 * Writes the record of a layer while it is unpacked. One buffer of operations, compressed when it is full, so
 * that an entry costs a few copies and no system call. See record.h for the form.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <zstd.h>

static int write_out(struct record *r, const uint8_t *data, size_t n) {
    r->bytes += n;
    while (n > 0) {
        ssize_t done = write(r->fd, data, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return fail_errno(STAGE_WRITE, NULL, "write the layer's record");
        data += done;
        n -= (size_t)done;
    }
    return 0;
}

static int flush(struct record *r, ZSTD_EndDirective how) {
    ZSTD_inBuffer from = {r->plain, r->used, 0};
    size_t left;
    do {
        ZSTD_outBuffer into = {r->packed, RECORD_BUFFER, 0};
        left = ZSTD_compressStream2(r->z, &into, &from, how);
        if (ZSTD_isError(left))
            return fail(KIND_INTERNAL, STAGE_WRITE, NULL, "compress the layer's record: %s",
                        ZSTD_getErrorName(left));
        if (into.pos && write_out(r, r->packed, into.pos) < 0) return -1;
    } while (from.pos < from.size || (how == ZSTD_e_end && left > 0));
    r->used = 0;
    r->open = 0;
    return 0;
}

static void put(struct record *r, const void *data, size_t n) {
    memcpy(r->plain + r->used, data, n);
    r->used += n;
}

/* Makes room for one operation other than R, which then ends. */
static int begin(struct record *r, char op, size_t n) {
    if (r->used + 1 + n > RECORD_BUFFER && flush(r, ZSTD_e_continue) < 0) return -1;
    r->open = 0;
    put(r, &op, 1);
    return 0;
}

static void put_path(struct record *r, const char *path) {
    uint16_t n = (uint16_t)strlen(path);
    put(r, &n, sizeof n);
    put(r, path, n);
}

static int head(struct record *r, uint32_t flags) {
    const uint32_t words[] = {RECORD_FRAME, 8, RECORD_MAGIC, flags};
    _Static_assert(sizeof words == RECORD_HEAD, "the head is four words");
    return pwrite(r->fd, words, sizeof words, 0) == sizeof words
               ? 0
               : fail_errno(STAGE_WRITE, NULL, "write the layer's record");
}

int record_open(struct record *r, const char *path) {
    memset(r, 0, sizeof *r);
    r->fd = -1;
    if (!path) return 0;
    r->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (r->fd < 0)
        return fail(KIND_INTERNAL, STAGE_WRITE, NULL, "create the record %s: %s", path, strerror(errno));
    r->plain = malloc(2 * RECORD_BUFFER);
    r->z = ZSTD_createCCtx();
    if (!r->plain || !r->z ||
        ZSTD_isError(ZSTD_CCtx_setParameter(r->z, ZSTD_c_compressionLevel, RECORD_LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(r->z, ZSTD_c_windowLog, RECORD_WINDOW)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(r->z, ZSTD_c_checksumFlag, 1)))
        return fail(KIND_EXHAUSTED, STAGE_WRITE, NULL, "make ready for the layer's record");
    r->packed = r->plain + RECORD_BUFFER;
    r->bytes = RECORD_HEAD;
    if (head(r, 0) < 0) return -1;
    return lseek(r->fd, RECORD_HEAD, SEEK_SET) < 0 ? fail_errno(STAGE_WRITE, NULL, "write the layer's record")
                                                   : 0;
}

static int literal(struct record *r, const uint8_t *data, size_t n) {
    while (n > 0) {
        if (!r->open || r->used == RECORD_BUFFER) {
            if (r->used + 6 > RECORD_BUFFER && flush(r, ZSTD_e_continue) < 0) return -1;
            r->plain[r->used] = 'R';
            r->open = r->used + 1;
            r->used += 5;
            memset(r->plain + r->open, 0, 4);
        }
        uint32_t length;
        size_t take = RECORD_BUFFER - r->used;
        if (take > n) take = n;
        memcpy(&length, r->plain + r->open, 4);
        length += (uint32_t)take;
        memcpy(r->plain + r->open, &length, 4);
        put(r, data, take);
        data += take;
        n -= take;
    }
    return 0;
}

static size_t trailing_zeros(const uint8_t *data, size_t n) {
    size_t left = n;
    uint64_t word;
    for (; left >= 8; left -= 8) {
        memcpy(&word, data + left - 8, 8);
        if (word) break;
    }
    return n - left;
}

/* Headers and padding end in zeros, half of all bytes: those cost five. */
int record_raw(struct record *r, const uint8_t *data, size_t n) {
    if (r->fd < 0) return 0;
    uint32_t zeros = (uint32_t)trailing_zeros(data, n);
    if (zeros < 16) return literal(r, data, n);
    if (literal(r, data, n - zeros) < 0 || begin(r, 'N', 4) < 0) return -1;
    put(r, &zeros, 4);
    return 0;
}

int record_fact(struct record *r, char op, const struct fact *f, const char *path) {
    if (r->fd < 0) return 0;
    if (begin(r, op, 64 + MAX_PATH) < 0) return -1;
    put(r, &f->type, 1);
    put(r, &f->mode, 4);
    put(r, &f->uid, 4);
    put(r, &f->gid, 4);
    put(r, &f->size, 8);
    put(r, &f->rdev, 8);
    put_path(r, path);
    return 0;
}

int record_entry(struct record *r, const struct entry *e) {
    if (r->fd < 0) return 0;
    bool device = e->type == '3' || e->type == '4';
    struct fact f = {.type = e->type, .mode = e->mode, .uid = e->uid, .gid = e->gid};
    f.size = e->type == '2' ? strlen(e->link) : e->sparse ? e->sparse->size : e->size;
    if (device) f.rdev = makedev(e->major, e->minor);
    if (e->path[0] == 0) {
        r->replaced |= r->seen_root; /* described twice: the tree tells which one held */
        r->seen_root = true;
    }
    return record_fact(r, 'E', &f, e->path);
}

int record_payload(struct record *r, uint64_t offset, uint64_t length) {
    if (r->fd < 0 || length == 0) return 0;
    if (begin(r, 'P', 16) < 0) return -1;
    put(r, &offset, 8);
    put(r, &length, 8);
    return 0;
}

void record_replaced(struct record *r, const char *path, bool data) {
    if (r->fd < 0) return;
    r->replaced = true;
    if (data && !r->lost[0]) memcpy(r->lost, path, strlen(path) + 1);
}

void record_end(struct record *r) {
    ZSTD_freeCCtx(r->z);
    free(r->plain);
    if (r->fd >= 0) close(r->fd);
    r->fd = -1;
}

int record_close(struct record *r, struct tree *t, uint64_t stream_bytes) {
    if (r->fd < 0) return 0;
    if (r->lost[0]) {
        if (begin(r, 'L', 2 + MAX_PATH) < 0) return -1;
        put_path(r, r->lost);
    }
    if (r->replaced && record_tree(r, t) < 0) return -1;
    if (begin(r, 'Z', 8) < 0) return -1;
    put(r, &stream_bytes, 8);
    if (flush(r, ZSTD_e_end) < 0) return -1;
    return head(r, RECORD_WHOLE | (r->lost[0] ? RECORD_LOST : 0) | (r->replaced ? RECORD_WALKED : 0));
}
