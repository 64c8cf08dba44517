// SPDX-License-Identifier: Apache-2.0
/*
 * The record of a layer: all that is needed, beside the tree, to write its tar stream again byte for byte,
 * and to tell whether the tree is still what it was. A file of a skippable zstd frame (magic and flags,
 * written last) and one zstd frame of operations, numbers in the machine's order:
 *
 *   R u32 bytes...                       that many bytes of the stream: headers, padding, what is no file's
 * data N u32                                that many zeros E entry                              what the
 * next operations are about, as the layer should have it P u64 offset u64 length              bytes of that
 * entry's file L u16 path                           this file's data was replaced by a later entry: the
 * stream is lost W entry                              as E, but of the finished tree: only with
 * RECORD_WALKED, instead of E Z u64                                the end, and the length of the stream
 *
 * An entry is u8 type, u32 mode uid gid, u64 size rdev, u16 length, path. Types are those of tar, and 'w' a
 * whiteout, 'o' an opaque directory.
 */
#ifndef GANTRY_RECORD_H
#define GANTRY_RECORD_H

#include "unpack.h"

#define RECORD_FRAME  0x184d2a5eu /* a skippable frame: zstd -d steps over it */
#define RECORD_MAGIC  0x31524347u /* "GCR1" */
#define RECORD_HEAD   16u         /* frame, length 8, magic, flags */
#define RECORD_WHOLE  1u          /* flags: written to its end */
#define RECORD_LOST   2u          /* the stream cannot be given back */
#define RECORD_WALKED 4u          /* entries replaced others: believe W, not E */
#define RECORD_LEVEL  1           /* of zstd: headers repeat themselves, more effort gains little */
#define RECORD_WINDOW 17          /* log2: 128 KiB are enough for that, and cost no memory */
#define RECORD_BUFFER (64u * 1024)

/* record.c: the writer. */
struct record {
    int fd; /* -1: no record is wanted, and every call does nothing */
    void *z;
    uint8_t *plain, *packed;
    size_t used, open; /* of `plain`; where the R that can grow begins, 0: none */
    uint64_t bytes;    /* of the file so far */
    bool replaced, seen_root;
    char lost[MAX_PATH];
};
struct fact {
    char type;
    uint32_t mode, uid, gid;
    uint64_t size, rdev;
};
/* Makes the file; before the sandbox is entered. */
int record_open(struct record *r, const char *path);
int record_raw(struct record *r, const uint8_t *data, size_t n);
int record_fact(struct record *r, char op, const struct fact *f, const char *path);
int record_entry(struct record *r, const struct entry *e);
int record_payload(struct record *r, uint64_t offset, uint64_t length);
/* Something that was recorded is gone from the tree; `data`: a file that had content. */
void record_replaced(struct record *r, const char *path, bool data);
void record_end(struct record *r); /* gives back what it holds; the process's end does it too */
int record_close(struct record *r, struct tree *t, uint64_t stream_bytes);

/* facts.c: the finished tree as W operations, when entries replaced others. */
int record_tree(struct record *r, struct tree *t);
/* What is at parent/name as a fact: lstat, with whiteouts told apart. -1 with errno. */
int fact_of(int parent, const char *name, struct fact *out);

/* replay.c: the reader. */
struct replay {
    int fd;
    void *z;
    uint8_t *packed, *plain;
    size_t packed_at, packed_end, at, end;
    uint32_t flags;
    /* the entry the operation is about */
    struct fact fact;
    char path[MAX_PATH];
    uint64_t offset, payload; /* of P */
    uint64_t length;          /* of R and N: bytes still to be taken */
    bool zeros;               /* it is N */
    uint64_t total;           /* of Z */
};
int replay_open(struct replay *r, const char *path); /* before the sandbox is entered; 0, -1 */
/* Checks the head of the file and makes ready. A record that is no whole one is a failure of kind corrupt. */
int replay_start(struct replay *r);
void replay_end(struct replay *r);
int replay_next(struct replay *r, char *op);                       /* -1: failed or damaged */
int replay_raw(struct replay *r, const uint8_t **data, size_t *n); /* 1: bytes of R or N, 0: no more */

/* look.c: a finished tree, for reading; the last directory and the last file are kept open. */
struct look {
    struct tree *t;
    int fd, file; /* -1: none */
    size_t length;
    char path[MAX_PATH];
};
void look_start(struct look *l, struct tree *t);
/* The directory that holds `path`, and its last component, "" for the root; -1 with errno. */
int look_parent(struct look *l, const char *path, const char **name);
/* The next entry: forgets the file. */
void look_next(struct look *l);
void look_end(struct look *l);
/* The file at hand, whose type and size are checked; -1 after a failure of kind corrupt. */
int look_file(struct look *l, const struct replay *r);

/* pack.c, verify.c: the other two modes of the program. Both print a result; a failure is left to the caller.
 */
struct sink {
    struct digest digest;
    uint8_t *buffer; /* SLOT_BYTES */
    size_t used;
    uint64_t total;
    bool silent; /* digest only */
};
int sink_start(struct sink *s, const char *diff_id, bool silent);
int sink_add(struct sink *s, const uint8_t *data, size_t n);
int sink_raw(struct sink *s, struct replay *r);
int sink_payload(struct sink *s, struct look *l, const struct replay *r);
int sink_end(struct sink *s, const struct replay *r, const char *diff_id, char out[DIGEST_TEXT]);
int pack_into(struct sink *s, struct look *l, struct replay *r);
int pack(const struct options *o, struct tree *t);
struct verdict {
    uint64_t entries;
    bool different;
    const char *path;
    char problem[256];
};
/* The record to its end or to the first difference; all bytes go to `content` too, unless NULL. */
int verify_walk(struct verdict *v, struct replay *r, struct look *l, struct sink *content);
int verify_tree(const struct options *o, struct tree *t);

#endif
