// SPDX-License-Identifier: Apache-2.0
/*
 * gantry-unpack: what its files share. Two threads: the producer (read, digest of the blob, inflate) fills a
 * ring, the consumer (digest of the tar stream, untar) empties it. The first failure wins and is printed as
 * one JSON line. Functions return 0 (or a count) on success and -1 after having recorded a failure.
 */
#ifndef GANTRY_UNPACK_H
#define GANTRY_UNPACK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Every bound of the program, in one place. */
#define SLOTS               8              /* ring: 8 x 256 KiB */
#define SLOT_BYTES          (256u * 1024)  /* a multiple of 512, so that headers never straddle slots */
#define DEFAULT_MAX_BYTES   (128ull << 30) /* of the tar stream, and of any one file */
#define DEFAULT_MAX_ENTRIES 2000000ull     /* headers of any type */
#define DEFAULT_MAX_RATIO   400ull         /* tar bytes per blob byte, counted beyond RATIO_FLOOR */
#define RATIO_FLOOR         (1ull << 30)   /* the first GiB may expand as it likes */
#define MAX_PATH            4096u          /* with the NUL, as the kernel has it */
#define MAX_COMPONENT       255u           /* bytes between slashes */
#define MAX_PAX             (1u << 20)     /* one extended header */
#define MAX_GLOBAL_PAX      (64u * 1024)   /* all global headers together */
#define MAX_XATTRS          256u           /* of one entry */
#define MAX_XATTR_VALUE     65536u         /* XATTR_SIZE_MAX */
#define MAX_EXTENTS         (256u * 1024)  /* of one sparse file */
#define MAX_LINK_HOPS       40             /* symbolic links followed in one path */
#define MAX_REMOVE_STACK    (1u << 20)     /* bytes of names on the way down while a tree is removed */
#define MAX_IMPLIED         1000u          /* implied directories named in the result */
#define MAX_IMPLIED_BYTES   (1u << 20)     /* of their names together */
#define ZSTD_WINDOW_LOG     27 /* 128 MiB: what `zstd --ultra --long` produces at most by default */

enum kind { KIND_CORRUPT, KIND_UNSUPPORTED, KIND_EXHAUSTED, KIND_INTERNAL };
enum stage { STAGE_READ, STAGE_INFLATE, STAGE_TAR, STAGE_WRITE, STAGE_VERIFY };

/* fail.c: the first failure of either thread; later ones are dropped. Always returns -1. */
int fail(enum kind kind, enum stage stage, const char *path, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same from errno: disk full is exhausted, what the names cause is corrupt, the rest is internal. */
int fail_errno(enum stage stage, const char *path, const char *doing);
/* What failures at STAGE_TAR name when they know no path themselves. */
void fail_entry(const char *name);
/* Forgets all, for a program that unpacks more than once: the fuzz target. */
void fail_reset(void);
bool failed(void);
/* The message and path of a failure of kind corrupt, else NULL. Of one thread only. */
const char *fail_corrupt(const char **path);
/* Prints the failure line and leaves the process with status 1. */
_Noreturn void fail_exit(void);
/* Notes that are no failure: shown in the result's `warnings`. */
void warn_once(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* json.c: a bounded writer for the one result line. */
struct json {
    char *buf;
    size_t len, cap;
};
void json_raw(struct json *j, const char *text);
void json_string(struct json *j, const char *text);
void json_number(struct json *j, uint64_t value);
void json_print(struct json *j);
extern int json_answer; /* the descriptor it goes to */
void json_warnings(struct json *j);

/* digest.c: sha256 or sha512 of a stream, as `algorithm:hex`. */
#define DIGEST_TEXT 160
struct digest {
    void *ctx;
    const char *algorithm;
};
/* The algorithm of a well-formed digest text, or NULL. */
const char *digest_algorithm(const char *text);
int digest_start(struct digest *d, const char *algorithm);
int digest_add(struct digest *d, const void *data, size_t n);
int digest_end(struct digest *d, char out[DIGEST_TEXT]);

/* options.c */
enum mode { MODE_UNPACK, MODE_PACK, MODE_VERIFY };
struct options {
    enum mode mode;
    const char *into;    /* the layer's directory */
    const char *record;  /* NULL: none */
    const char *digest;  /* of the blob */
    const char *diff_id; /* NULL: computed, not compared */
    uint64_t size, max_bytes, max_entries, max_ratio;
    bool refuse_devices;
};
int options_parse(struct options *o, int argc, char **argv);

/* ring.c: one producer, one consumer. */
struct ring {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint8_t *memory;
    size_t length[SLOTS];
    unsigned head, tail; /* produced, consumed; free-running */
    bool finished, broken;
};
int ring_init(struct ring *r);
uint8_t *ring_slot(struct ring *r);          /* producer: waits for a free slot; NULL once broken */
void ring_publish(struct ring *r, size_t n); /* producer: the slot holds n bytes */
void ring_finish(struct ring *r);            /* producer: that was all */
void ring_break(struct ring *r);             /* either: wake the other, no more data */
int ring_take(struct ring *r, const uint8_t **data, size_t *n); /* consumer: 1 data, 0 end, -1 broken */
void ring_release(struct ring *r);                              /* consumer: done with the slot taken */

/* inflate.c: the producer thread. Its results may be read after ring_take returned 0. */
struct producer {
    const struct options *options;
    struct ring *ring;
    struct digest digest;
    uint64_t got;                  /* blob bytes read */
    char blob_digest[DIGEST_TEXT]; /* set before ring_finish */
    bool plain;                    /* no compression: the blob is the tar stream */
};
void *producer_main(void *producer);

/* stream.c: the tar bytes, digested as they are taken. */
struct stream {
    struct ring *ring;
    struct digest *digest;
    const struct producer *producer;
    struct record *record;
    const uint8_t *at;
    size_t left;
    uint64_t taken;
    bool held, own_digest;
    bool payload;      /* what is taken now is a file's data, which the record does not hold */
    const char *entry; /* name for messages */
};
int stream_piece(struct stream *s, uint64_t max, const uint8_t **data, size_t *n); /* 1, 0 end, -1 */
int stream_read(struct stream *s, void *out, size_t n);                            /* 1, 0 end at once, -1 */
int stream_skip(struct stream *s, uint64_t n);
int stream_drain(struct stream *s);

/* entry.c, pax.c, sparse.c, header.c: one member of the archive, merged from all its headers. */
struct text {
    const char *at; /* NULL: not given */
    size_t n;
};
struct xattr {
    struct text name, value;
};
struct extent {
    uint64_t offset, length;
};
struct pax {
    struct text path, linkpath, size, uid, gid, mtime;
    struct text sparse_name, sparse_major, sparse_minor, sparse_size, sparse_realsize, sparse_map;
    struct xattr xattrs[MAX_XATTRS];
    unsigned xattr_count;
    bool sparse_pairs; /* format 0.0: extents collected in the sparse map */
};
struct sparse {
    struct extent *extents;
    size_t count, capacity;
    uint64_t size; /* the size of the file with its holes */
    bool active;
};
struct entry {
    char type; /* '0' file, '1' hard link, '2' symlink, '3' char, '4' block, '5' directory, '6' fifo */
    char path[MAX_PATH], link[MAX_PATH];
    uint32_t mode, uid, gid, major, minor;
    uint64_t size; /* data bytes that follow in the stream */
    struct timespec mtime;
    const struct pax *pax;
    struct sparse *sparse;
};

/* header.c */
bool header_number(const uint8_t *field, size_t n, int64_t *out);
bool header_checksum_ok(const uint8_t block[512]);
bool header_is_zero(const uint8_t block[512]);
bool decimal_number(struct text t, uint64_t *out);
bool decimal_time(struct text t, struct timespec *out);
bool text_is(struct text t, const char *literal);

/* pax.c: the records of one extended header, in order; `sparse` takes the pairs of format 0.0. */
int pax_parse(struct pax *pax, struct sparse *sparse, struct text block);

/* sparse.c */
int sparse_add(struct sparse *s, uint64_t offset, uint64_t length);
int sparse_from_pax(struct sparse *s, const struct pax *pax, struct stream *stream, uint64_t *size);
int sparse_from_gnu(struct sparse *s, const uint8_t block[512], struct stream *stream);
int sparse_check(const struct sparse *s, uint64_t stored, const char *path);

/* names.c: "./a//b/" becomes "a/b"; the root becomes "". */
int name_clean(const char *raw, size_t n, char out[MAX_PATH], const char *what);

/* tree.c: directories below the root; never outside. */
struct parent {
    int fd; /* -1: none */
    bool dirty, setgid;
    struct timespec mtime; /* as it was: put back when the directory is left */
    size_t length;
    char path[MAX_PATH];
};
struct tree {
    struct record *record;
    int root;
    bool openat2, confined; /* confined: the process root is the layer, so plain paths cannot leave it */
    bool default_acl;       /* some directory of the layer has a default ACL: undo inheritance */
    bool refuse_devices;
    bool linked; /* some path led through a symbolic link */
    struct parent parent;
    uint64_t directory_bytes; /* allocated by a new directory, learnt once */
    uint64_t inodes, bytes, entries, implied_count, xattrs_skipped, zero_devices;
    struct {
        uint64_t inode;
        char *path;
    } implied[MAX_IMPLIED];
    size_t implied_named, implied_bytes;
};
/* The directory that holds `path`, made if missing; sets *name to the last component. Cached. */
struct parent *tree_parent(struct tree *t, const char *path, const char **name);
/* A directory for looking only (hard link targets); -1 with errno. Close it. */
int tree_open(struct tree *t, const char *path, size_t n);
/* Leaves the cached directory and puts its time back. */
int tree_leave(struct tree *t);
/* walk.c: makes every missing directory of path[0..n); returns its fd. Slow path, and the one without
 * openat2. */
int tree_walk(struct tree *t, const char *path, size_t n);

/* implied.c: directories made because a path needed them, until the archive describes or replaces them. */
int implied_add(struct tree *t, uint64_t inode, const char *path);
/* True if it was one of them. */
bool implied_forget(struct tree *t, uint64_t inode);

/* remove.c */
enum cleared { CLEARED_NOTHING, CLEARED_ENTRY, CLEARED_WHITEOUT, KEPT_DIRECTORY };
/* Takes what is at parent/name away; a directory stays when `keep_directory`. -1 on failure. */
int tree_clear(struct tree *t, struct parent *p, const char *name, bool keep_directory, const char *path);

/* apply.c, whiteout.c */
int apply_entry(struct tree *t, struct entry *e, struct stream *s);
enum whiteout { WHITEOUT_NONE, WHITEOUT_DONE };
int apply_whiteout(struct tree *t, const char *path); /* WHITEOUT_* or -1 */
int tree_set_opaque(int fd, const char *path);
int xattrs_apply(struct tree *t, const struct entry *e, int fd, struct parent *p, const char *name);

/* untar.c: the whole archive. */
int untar(struct tree *t, struct stream *s, const struct options *o);

/* sandbox.c, seccomp.c */
int sandbox_enter(struct tree *t, const struct options *o);
int seccomp_enter(void);

#endif
