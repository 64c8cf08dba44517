// SPDX-License-Identifier: Apache-2.0
/*
 * The tar stream of a layer, again: its record tells the order and all that is no file's data, the tree has
 * the rest. Goes to standard output while its digest is taken; the result line goes to standard error.
 */
#include "record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int sink_start(struct sink *s, const char *diff_id, bool silent) {
    *s = (struct sink){.buffer = malloc(SLOT_BYTES), .silent = silent};
    if (!s->buffer) return fail_errno(STAGE_READ, NULL, "allocate the buffer");
    return digest_start(&s->digest, diff_id ? digest_algorithm(diff_id) : "sha256");
}

static int sink_flush(struct sink *s) {
    if (digest_add(&s->digest, s->buffer, s->used) < 0) return -1;
    for (size_t done = 0; !s->silent && done < s->used;) {
        ssize_t n = write(STDOUT_FILENO, s->buffer + done, s->used - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(KIND_INTERNAL, STAGE_WRITE, NULL, "write the archive: %s", strerror(errno));
        done += (size_t)n;
    }
    s->total += s->used;
    s->used = 0;
    return 0;
}

int sink_raw(struct sink *s, struct replay *r) {
    const uint8_t *data;
    size_t n;
    int more;
    while ((more = replay_raw(r, &data, &n)) == 1) {
        if (s->used + n > SLOT_BYTES && sink_flush(s) < 0) return -1; /* n is a record's buffer at most */
        memcpy(s->buffer + s->used, data, n);
        s->used += n;
    }
    return more;
}

int sink_payload(struct sink *s, struct look *l, const struct replay *r) {
    int fd = look_file(l, r);
    if (fd < 0) return -1;
    for (uint64_t done = 0; done < r->payload;) {
        if (s->used == SLOT_BYTES && sink_flush(s) < 0) return -1;
        size_t want = SLOT_BYTES - s->used;
        if (want > r->payload - done) want = (size_t)(r->payload - done);
        ssize_t n = pread(fd, s->buffer + s->used, want, (off_t)(r->offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(STAGE_READ, r->path, "read a file");
        if (n == 0) return fail(KIND_CORRUPT, STAGE_READ, r->path, "the file ended early");
        s->used += (size_t)n;
        done += (uint64_t)n;
    }
    return 0;
}

int sink_end(struct sink *s, const struct replay *r, const char *diff_id, char out[DIGEST_TEXT]) {
    if (sink_flush(s) < 0 || digest_end(&s->digest, out) < 0) return -1;
    if (s->total != r->total)
        return fail(KIND_CORRUPT, STAGE_VERIFY, NULL, "the archive has %llu bytes, it was unpacked with %llu",
                    (unsigned long long)s->total, (unsigned long long)r->total);
    if (diff_id && strcmp(out, diff_id) != 0)
        return fail(KIND_CORRUPT, STAGE_VERIFY, NULL,
                    "the content of a file has changed since it was unpacked: the digest is %s, expected %s",
                    out, diff_id);
    return 0;
}

/* Reads on to the name of the entry that makes it impossible. */
static int refuse(struct replay *r) {
    char op = 0;
    while (op != 'L' && op != 'Z')
        if (replay_next(r, &op) < 0) return -1;
    return fail(
        KIND_UNSUPPORTED, STAGE_READ, op == 'L' ? r->path : NULL,
        "the archive of this layer cannot be given back: this entry replaced the content of an earlier one, "
        "or a link to it, which was not kept. Copy the image from the registry that it came from instead");
}

int pack_into(struct sink *s, struct look *l, struct replay *r) {
    for (;;) {
        char op;
        if (replay_next(r, &op) < 0) return -1;
        switch (op) {
        case 'R':
        case 'N':
            if (sink_raw(s, r) < 0) return -1;
            break;
        case 'E':
            look_next(l);
            break;
        case 'P':
            if (sink_payload(s, l, r) < 0) return -1;
            break;
        case 'Z':
            return 0;
        default:
            break;
        }
    }
}

int pack(const struct options *o, struct tree *t) {
    static struct replay replay;
    static struct look look;
    struct sink sink;
    char digest[DIGEST_TEXT];
    if (replay_open(&replay, o->record) < 0 || sink_start(&sink, o->diff_id, false) < 0 ||
        sandbox_enter(t, o) < 0 || replay_start(&replay) < 0)
        return -1;
    if (replay.flags & RECORD_LOST) return refuse(&replay);
    look_start(&look, t);
    if (pack_into(&sink, &look, &replay) < 0 || sink_end(&sink, &replay, o->diff_id, digest) < 0) return -1;
    struct json j = {0};
    json_raw(&j, "{\"diffId\":");
    json_string(&j, digest);
    json_raw(&j, ",\"bytes\":");
    json_number(&j, sink.total);
    json_raw(&j, "}\n");
    json_print(&j);
    return 0;
}
