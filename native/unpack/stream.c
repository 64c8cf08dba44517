// SPDX-License-Identifier: Apache-2.0
/*
 * The tar stream as the consumer sees it: pieces of ring slots, digested once as they arrive. A plain blob is
 * its own tar stream, so its digest is not computed twice.
 */
#include "record.h"

#include <string.h>

static int next_slot(struct stream *s) {
    if (s->held) ring_release(s->ring);
    s->held = false;
    int got = ring_take(s->ring, &s->at, &s->left);
    if (got == 1) {
        s->held = true;
        if (!(s->producer->plain && !s->own_digest) && digest_add(s->digest, s->at, s->left) < 0) return -1;
    }
    return got;
}

int stream_piece(struct stream *s, uint64_t max, const uint8_t **data, size_t *n) {
    if (s->left == 0) {
        int got = next_slot(s);
        if (got <= 0) return got;
    }
    *data = s->at;
    *n = s->left < max ? s->left : (size_t)max;
    s->at += *n;
    s->left -= *n;
    s->taken += *n;
    return s->payload || record_raw(s->record, *data, *n) == 0 ? 1 : -1;
}

static int ended(const struct stream *s) {
    return fail(KIND_CORRUPT, STAGE_TAR, s->entry, "the archive ends inside an entry");
}

int stream_read(struct stream *s, void *out, size_t n) {
    for (size_t done = 0; done < n;) {
        const uint8_t *data;
        size_t got;
        int more = stream_piece(s, n - done, &data, &got);
        if (more < 0) return -1;
        if (more == 0) return done == 0 ? 0 : ended(s);
        memcpy((char *)out + done, data, got);
        done += got;
    }
    return 1;
}

int stream_skip(struct stream *s, uint64_t n) {
    while (n > 0) {
        const uint8_t *data;
        size_t got;
        int more = stream_piece(s, n, &data, &got);
        if (more <= 0) return more < 0 ? -1 : ended(s);
        n -= got;
    }
    return 0;
}

int stream_drain(struct stream *s) {
    const uint8_t *data;
    size_t got;
    int more;
    while ((more = stream_piece(s, UINT64_MAX, &data, &got)) == 1) continue;
    return more;
}
