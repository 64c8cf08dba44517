// SPDX-License-Identifier: Apache-2.0
/*
 * The archive as a sequence of members: collects the headers that describe one entry (extended, GNU long
 * names, sparse maps), merges them and hands the entry on. Where extractors differ, it reads like Go's
 * archive/tar, which wrote and reads nearly all layers: links, directories and devices carry no data whatever
 * their size says.
 */
#include "unpack.h"

#include <stdlib.h>
#include <string.h>

struct reader {
    struct tree *tree;
    struct stream *stream;
    const struct options *options;
    struct pax pax;
    struct sparse sparse;
    struct entry entry;
    char *global, *local; /* extended headers: of the archive, of the next entry */
    size_t global_size, local_size;
    bool has_local;
    char *long_name, *long_link; /* GNU L and K; NULL: none */
    char name_text[MAX_PATH];    /* what messages call the entry */
};

static int corrupt(const struct reader *r, const char *what) {
    return fail(KIND_CORRUPT, STAGE_TAR, r->name_text, "%s", what);
}

/* Reads the data of an extended header, with its padding, into a new buffer. */
static char *read_block(struct reader *r, int64_t size, size_t max, const char *what) {
    if (size < 0 || (uint64_t)size > max) {
        fail(KIND_UNSUPPORTED, STAGE_TAR, r->name_text, "%s of %lld bytes, the most is %zu", what,
             (long long)size, max);
        return NULL;
    }
    char *data = malloc((size_t)size + 1);
    if (!data) {
        fail_errno(STAGE_TAR, r->name_text, what);
        return NULL;
    }
    int got = size ? stream_read(r->stream, data, (size_t)size) : 1;
    if (got <= 0 || stream_skip(r->stream, -(uint64_t)size & 511) < 0) {
        if (got == 0) corrupt(r, "the archive ends inside an extended header");
        free(data);
        return NULL;
    }
    data[size] = 0;
    return data;
}

static int add_global(struct reader *r, int64_t size) {
    char *data = read_block(r, size, MAX_GLOBAL_PAX - r->global_size, "global extended headers");
    if (!data) return -1;
    char *grown = realloc(r->global, r->global_size + (size_t)size + 1);
    if (grown) {
        memcpy(grown + r->global_size, data, (size_t)size);
        r->global = grown;
        r->global_size += (size_t)size;
    }
    free(data);
    return grown ? 0 : fail_errno(STAGE_TAR, NULL, "allocate a global header");
}

static int set_long(struct reader *r, char **to, int64_t size) {
    free(*to);
    *to = read_block(r, size, 2 * MAX_PATH, "a GNU long name");
    return *to ? 0 : -1;
}

/* 1: the header described the next entry and is taken in, 0: it is an entry, -1: failed. */
static int take_extension(struct reader *r, char type, int64_t size) {
    switch (type) {
    case 'x':
    case 'X':
        free(r->local);
        r->local = read_block(r, size, MAX_PAX, "an extended header");
        r->local_size = (size_t)size;
        r->has_local = r->local != NULL;
        return r->local ? 1 : -1;
    case 'g':
        return add_global(r, size) < 0 ? -1 : 1;
    case 'L':
        return set_long(r, &r->long_name, size) < 0 ? -1 : 1;
    case 'K':
        return set_long(r, &r->long_link, size) < 0 ? -1 : 1;
    default:
        return 0;
    }
}

static size_t field_length(const uint8_t *f, size_t n) { return strnlen((const char *)f, n); }

/* The name field with the prefix of ustar (155 bytes) or star (131 bytes); GNU headers use that place
 * otherwise. */
static size_t header_name(const uint8_t b[512], char *out) {
    size_t n = 0;
    if (memcmp(b + 257, "ustar\0", 6) == 0) {
        size_t room = memcmp(b + 508, "tar\0", 4) == 0 ? 131 : 155;
        n = field_length(b + 345, room);
        memcpy(out, b + 345, n);
        if (n) out[n++] = '/';
    }
    size_t name = field_length(b, 100);
    memcpy(out + n, b, name);
    return n + name;
}

static int set_name(struct reader *r, const uint8_t b[512]) {
    char field[512];
    struct text name = {field, header_name(b, field)};
    if (r->pax.path.at) name = r->pax.path;
    if (r->pax.sparse_name.at && (r->pax.sparse_major.at || r->pax.sparse_pairs || r->pax.sparse_map.at))
        name = r->pax.sparse_name;
    if (r->long_name) name = (struct text){r->long_name, strlen(r->long_name)};
    if (r->entry.type == 0) r->entry.type = name.n && name.at[name.n - 1] == '/' ? '5' : '0';
    if (name_clean(name.at, name.n, r->entry.path, "the name") < 0) return -1;
    memcpy(r->name_text, r->entry.path, sizeof r->name_text);
    return 0;
}

static int set_link(struct reader *r, const uint8_t b[512]) {
    struct entry *e = &r->entry;
    struct text link = {(const char *)b + 157, field_length(b + 157, 100)};
    if (r->pax.linkpath.at) link = r->pax.linkpath;
    if (r->long_link) link = (struct text){r->long_link, strlen(r->long_link)};
    e->link[0] = 0;
    if (e->type == '1') return name_clean(link.at, link.n, e->link, "the hard link target");
    if (e->type != '2') return 0;
    if (link.n == 0 || link.n >= MAX_PATH || memchr(link.at, 0, link.n))
        return corrupt(r, "a symbolic link whose target is empty, too long or holds a NUL byte");
    memcpy(e->link, link.at, link.n);
    e->link[link.n] = 0;
    return 0;
}

static int set_id(struct reader *r, const uint8_t *field, struct text text, uint32_t *out) {
    int64_t id;
    uint64_t decimal;
    if (text.at) {
        if (!decimal_number(text, &decimal)) return corrupt(r, "an owner that is no number");
        id = (int64_t)decimal;
    } else if (!header_number(field, 8, &id)) {
        return corrupt(r, "an owner that is no number");
    }
    if (id < 0 || id >= UINT32_MAX) /* (uid_t)-1 means "leave as it is" to chown */
        return corrupt(r, "an owner outside 0..4294967294");
    *out = (uint32_t)id;
    return 0;
}

static int set_numbers(struct reader *r, const uint8_t b[512], int64_t size) {
    struct entry *e = &r->entry;
    int64_t mode, mtime, major = 0, minor = 0;
    uint64_t decimal;
    if (!header_number(b + 100, 8, &mode) || !header_number(b + 136, 12, &mtime))
        return corrupt(r, "a header with a bad number");
    if ((e->type == '3' || e->type == '4') &&
        (!header_number(b + 329, 8, &major) || !header_number(b + 337, 8, &minor) || major < 0 ||
         major > 0xfff || minor < 0 || minor > 0xfffff))
        return corrupt(r, "a device number outside of what Linux has");
    e->mode = (uint32_t)mode & 07777;
    e->major = (uint32_t)major;
    e->minor = (uint32_t)minor;
    e->mtime = (struct timespec){.tv_sec = mtime};
    if (r->pax.mtime.at && !decimal_time(r->pax.mtime, &e->mtime))
        return corrupt(r, "a modification time that is no number");
    if (r->pax.size.at) {
        if (!decimal_number(r->pax.size, &decimal)) return corrupt(r, "a size that is no number");
        size = (int64_t)decimal;
    }
    if (size < 0) return corrupt(r, "a negative size");
    e->size = e->type == '0' ? (uint64_t)size : 0;
    if (set_id(r, b + 108, r->pax.uid, &e->uid) < 0 || set_id(r, b + 116, r->pax.gid, &e->gid) < 0) return -1;
    return 0;
}

static int set_sparse(struct reader *r, const uint8_t b[512], bool gnu) {
    struct entry *e = &r->entry;
    if (e->type != '0') return 0;
    if (gnu ? sparse_from_gnu(&r->sparse, b, r->stream) < 0
            : sparse_from_pax(&r->sparse, &r->pax, r->stream, &e->size) < 0)
        return -1;
    if (!r->sparse.active) return 0;
    e->sparse = &r->sparse;
    return sparse_check(&r->sparse, e->size, e->path);
}

/* Kinds of entries as this program knows them. 0: leave it out, -1: refused. */
static int entry_type(struct reader *r, char raw, char *out) {
    switch (raw) {
    case 0: /* V7: a directory if the name ends in a slash, see set_name */
        return *out = 0, 1;
    case '7': /* contiguous file */
    case 'S': /* GNU sparse */
        return *out = '0', 1;
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
        return *out = raw, 1;
    case 'V': /* GNU volume label */
        return 0;
    default:
        return fail(KIND_UNSUPPORTED, STAGE_TAR, r->name_text, "an entry of the unknown type '%c' (0x%02x)",
                    raw >= ' ' && raw < 127 ? raw : '?', (unsigned char)raw);
    }
}

static void forget(struct reader *r) {
    free(r->local);
    free(r->long_name);
    free(r->long_link);
    r->local = r->long_name = r->long_link = NULL;
    r->has_local = false;
}

static int take_entry(struct reader *r, const uint8_t b[512], int64_t size) {
    struct entry *e = &r->entry;
    char raw = (char)b[156];
    memset(&r->pax, 0, sizeof r->pax);
    r->sparse.count = 0;
    r->sparse.active = false;
    e->sparse = NULL;
    e->pax = &r->pax;
    int known = entry_type(r, raw, &e->type);
    if (known < 0 || size < 0) return corrupt(r, "a negative size");
    if (known == 0) {
        forget(r);
        return stream_skip(r->stream, (uint64_t)size + (-(uint64_t)size & 511));
    }
    size_t n = header_name(b, r->name_text); /* until the extended header has told a better one */
    r->name_text[n] = 0;
    if (r->global && pax_parse(&r->pax, &r->sparse, (struct text){r->global, r->global_size}) < 0) return -1;
    if (r->has_local && pax_parse(&r->pax, &r->sparse, (struct text){r->local, r->local_size}) < 0) return -1;
    if (set_name(r, b) < 0 || set_link(r, b) < 0 || set_numbers(r, b, size) < 0 ||
        set_sparse(r, b, raw == 'S') < 0)
        return -1;
    if (e->size > r->options->max_bytes || (e->sparse && e->sparse->size > r->options->max_bytes))
        return fail(KIND_EXHAUSTED, STAGE_TAR, e->path, "a file larger than the limit of %llu bytes",
                    (unsigned long long)r->options->max_bytes);
    uint64_t padding = -e->size & 511;
    r->stream->entry = r->name_text;
    if (apply_entry(r->tree, e, r->stream) < 0 || stream_skip(r->stream, padding) < 0) return -1;
    forget(r);
    return 0;
}

/* One header block. 1: go on, 0: end of the archive, -1: failed. */
static int take_header(struct reader *r) {
    uint8_t b[512];
    int64_t size;
    int got = stream_read(r->stream, b, sizeof b);
    if (got <= 0)
        return got < 0                        ? -1
               : r->has_local || r->long_name ? corrupt(r, "the archive ends after an extended header")
                                              : 0;
    if (header_is_zero(b)) {
        got = stream_read(r->stream, b, sizeof b);
        if (got > 0 && !header_is_zero(b))
            return corrupt(r, "a single zero block in the middle of the archive");
        return got < 0 ? -1 : 0;
    }
    if (!header_checksum_ok(b))
        return corrupt(r, r->tree->entries ? "a header with a wrong checksum after this entry"
                                           : "no tar archive: the first header has a wrong checksum");
    if (++r->tree->entries > r->options->max_entries)
        return fail(KIND_EXHAUSTED, STAGE_TAR, r->name_text, "more than the limit of %llu entries",
                    (unsigned long long)r->options->max_entries);
    if (!header_number(b + 124, 12, &size)) return corrupt(r, "a header with a bad size after this entry");
    int taken = take_extension(r, (char)b[156], size);
    if (taken != 0) return taken;
    return take_entry(r, b, size) < 0 ? -1 : 1;
}

int untar(struct tree *t, struct stream *s, const struct options *o) {
    struct reader *r = calloc(1, sizeof *r);
    if (!r) return fail_errno(STAGE_TAR, NULL, "allocate the reader");
    r->tree = t;
    r->stream = s;
    r->options = o;
    int more;
    fail_entry(r->name_text);
    while ((more = take_header(r)) == 1) continue;
    if (more == 0) more = tree_leave(t);
    if (more == 0) {
        s->entry = NULL;
        more = stream_drain(s);
    }
    forget(r);
    fail_entry(NULL);
    s->entry = NULL;
    free(r->global);
    free(r->sparse.extents);
    free(r);
    return more;
}
