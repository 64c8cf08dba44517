// SPDX-License-Identifier: Apache-2.0
/*
 * Maps of files with holes: GNU.sparse 0.0 and 0.1 in extended headers, 1.0 in front of the data, and the old
 * GNU type S. All end as one list of extents in rising order, which `sparse_check` holds against the stored
 * size.
 */
#include "unpack.h"

#include <stdlib.h>
#include <string.h>

int sparse_add(struct sparse *s, uint64_t offset, uint64_t length) {
    if (s->count == MAX_EXTENTS)
        return fail(KIND_UNSUPPORTED, STAGE_TAR, NULL, "a sparse file with more than %u extents",
                    MAX_EXTENTS);
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 64;
        struct extent *grown = realloc(s->extents, capacity * sizeof *grown);
        if (!grown) return fail_errno(STAGE_TAR, NULL, "allocate a sparse map");
        s->extents = grown;
        s->capacity = capacity;
    }
    s->extents[s->count++] = (struct extent){offset, length};
    return 0;
}

static int bad_map(void) { return fail(KIND_CORRUPT, STAGE_TAR, NULL, "a malformed sparse map"); }

/* Format 0.1: "offset,length,offset,length,…" in one value. */
static int from_list(struct sparse *s, struct text map) {
    uint64_t pair[2];
    int have = 0;
    for (size_t at = 0; at <= map.n;) {
        const char *comma = memchr(map.at + at, ',', map.n - at);
        size_t end = comma ? (size_t)(comma - map.at) : map.n;
        if (!decimal_number((struct text){map.at + at, end - at}, &pair[have])) return bad_map();
        have ^= 1;
        if (have == 0 && sparse_add(s, pair[0], pair[1]) < 0) return -1;
        at = end + 1;
    }
    return have ? bad_map() : 0;
}

struct lines {
    struct stream *stream;
    uint64_t *size; /* data left, counted down */
    uint8_t block[512];
    size_t at;
};

/* The next decimal line of a format 1.0 map, block by block. */
static int next_line(struct lines *l, uint64_t *out) {
    char digits[24];
    size_t n = 0;
    for (;;) {
        if (l->at == sizeof l->block) {
            if (*l->size < sizeof l->block) return bad_map();
            int got = stream_read(l->stream, l->block, sizeof l->block);
            if (got <= 0)
                return got < 0 ? -1
                               : fail(KIND_CORRUPT, STAGE_TAR, NULL, "the archive ends inside a sparse map");
            *l->size -= sizeof l->block;
            l->at = 0;
        }
        char c = (char)l->block[l->at++];
        if (c == '\n') return decimal_number((struct text){digits, n}, out) ? 0 : bad_map();
        if (n == sizeof digits) return bad_map();
        digits[n++] = c;
    }
}

static int from_data(struct sparse *s, struct stream *stream, uint64_t *size) {
    struct lines l = {.stream = stream, .size = size, .at = sizeof l.block};
    uint64_t count, offset, length;
    if (next_line(&l, &count) < 0) return -1;
    for (; count > 0; count--)
        if (next_line(&l, &offset) < 0 || next_line(&l, &length) < 0 || sparse_add(s, offset, length) < 0)
            return -1;
    return 0;
}

int sparse_from_pax(struct sparse *s, const struct pax *pax, struct stream *stream, uint64_t *size) {
    bool one = text_is(pax->sparse_major, "1") && text_is(pax->sparse_minor, "0");
    bool zero = pax->sparse_pairs || pax->sparse_map.at;
    if (!one && !zero)
        return pax->sparse_major.at && !text_is(pax->sparse_major, "0")
                   ? fail(KIND_UNSUPPORTED, STAGE_TAR, NULL, "a sparse format newer than 1.0")
                   : 0;
    struct text real = pax->sparse_realsize.at ? pax->sparse_realsize : pax->sparse_size;
    if (!decimal_number(real, &s->size)) return bad_map();
    s->active = true;
    if (one) return s->count = 0, from_data(s, stream, size);
    return pax->sparse_map.at ? (s->count = 0, from_list(s, pax->sparse_map)) : 0;
}

static int gnu_pairs(struct sparse *s, const uint8_t *at, int n) {
    for (int i = 0; i < n; i++, at += 24) {
        int64_t offset, length;
        if (at[0] == 0 && at[12] == 0) continue;
        if (!header_number(at, 12, &offset) || !header_number(at + 12, 12, &length) || offset < 0 ||
            length < 0)
            return bad_map();
        if (sparse_add(s, (uint64_t)offset, (uint64_t)length) < 0) return -1;
    }
    return 0;
}

int sparse_from_gnu(struct sparse *s, const uint8_t block[512], struct stream *stream) {
    int64_t real;
    uint8_t more[512];
    if (!header_number(block + 483, 12, &real) || real < 0) return bad_map();
    s->active = true;
    s->size = (uint64_t)real;
    s->count = 0;
    if (gnu_pairs(s, block + 386, 4) < 0) return -1;
    for (bool extended = block[482] != 0; extended; extended = more[504] != 0) {
        int got = stream_read(stream, more, sizeof more);
        if (got <= 0)
            return got < 0 ? -1 : fail(KIND_CORRUPT, STAGE_TAR, NULL, "the archive ends inside a sparse map");
        if (gnu_pairs(s, more, 21) < 0) return -1;
    }
    return 0;
}

int sparse_check(const struct sparse *s, uint64_t stored, const char *path) {
    uint64_t end = 0, sum = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct extent *x = &s->extents[i];
        if (x->offset < end || x->length > s->size || x->offset > s->size - x->length)
            return fail(KIND_CORRUPT, STAGE_TAR, path,
                        "a sparse map whose extents overlap or leave the file");
        end = x->offset + x->length;
        sum += x->length;
    }
    if (sum != stored)
        return fail(KIND_CORRUPT, STAGE_TAR, path, "a sparse map for %llu bytes over %llu stored ones",
                    (unsigned long long)sum, (unsigned long long)stored);
    return 0;
}
