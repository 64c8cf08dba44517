// SPDX-License-Identifier: Apache-2.0
/*
 * The unpacker under libFuzzer: an input is a blob, and goes the way of one through both threads into a
 * directory on a tmpfs of its own. Sanitizers tell of crashes. Where a blob is taken, its record is put to
 * the test too: the tree has to be what the record says, and the tar stream has to come back byte for byte.
 * Checksums of headers are not looked at in this build. No sandbox: libFuzzer needs its files; openat2 alone
 * holds names inside.
 */
#include "../unpack/record.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int base = -1; /* the tmpfs */

#define MUST(what)                                                                                           \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            fprintf(stderr, "%s:%d: %s does not hold: %s\n", __FILE__, __LINE__, #what, strerror(errno));    \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    char folder[] = "/tmp/gt-fuzz-XXXXXX";
    MUST(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    MUST(mkdtemp(folder) &&
         mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64m") == 0);
    base = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(base >= 0 && umount2(folder, MNT_DETACH) == 0 && rmdir(folder) == 0);
    umask(0);
    return 0;
}

/* Blobs are read from standard input. */
static void feed(const uint8_t *data, size_t size) {
    int fd = memfd_create("blob", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    MUST(dup2(fd, STDIN_FILENO) == STDIN_FILENO && close(fd) == 0);
}

static bool unpack_one(struct tree *t, struct record *record, size_t size, char diff_id[DIGEST_TEXT]) {
    static struct ring ring;
    struct options o = {.size = size, .max_bytes = 4 << 20, .max_entries = 300, .max_ratio = 100};
    struct producer p = {.options = &o, .ring = &ring};
    struct digest digest;
    pthread_t thread;
    MUST(digest_start(&p.digest, "sha256") == 0 && digest_start(&digest, "sha256") == 0 &&
         ring_init(&ring) == 0);
    struct stream s = {
        .ring = &ring, .digest = &digest, .producer = &p, .record = record, .own_digest = true};
    t->record = record;
    MUST(pthread_create(&thread, NULL, producer_main, &p) == 0);
    bool whole = untar(t, &s, &o) == 0;
    ring_break(&ring);
    pthread_join(thread, NULL);
    whole = whole && record_close(record, t, s.taken) == 0 && !failed();
    if (t->parent.fd >= 0) close(t->parent.fd);
    MUST(digest_end(&digest, diff_id) == 0);
    EVP_MD_CTX_free(p.digest.ctx);
    EVP_MD_CTX_free(digest.ctx);
    munmap(ring.memory, (size_t)SLOTS * SLOT_BYTES);
    return whole;
}

static void replay_all(struct tree *t, const char *record, const char *diff_id) {
    static struct replay r;
    static struct look l;
    struct verdict v = {0};
    struct sink sink;
    char again[DIGEST_TEXT];
    MUST(replay_open(&r, record) == 0 && replay_start(&r) == 0 && sink_start(&sink, NULL, true) == 0);
    look_start(&l, t);
    bool same = !(r.flags & RECORD_LOST);
    int walked = verify_walk(&v, &r, &l, same ? &sink : NULL);
    if (v.different) fprintf(stderr, "'%s': %s\n", v.path, v.problem);
    MUST(walked == 0 && !v.different);
    MUST(!same || sink_end(&sink, &r, diff_id, again) == 0);
    EVP_MD_CTX_free(sink.digest.ctx);
    look_end(&l);
    replay_end(&r);
    free(sink.buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct tree t;
    static struct record record;
    struct parent top = {.fd = base};
    char diff_id[DIGEST_TEXT], path[64];
    fail_reset();
    MUST(mkdirat(base, "tree", 0755) == 0);
    for (size_t i = 0; i < t.implied_named; i++) free(t.implied[i].path);
    memset(&t, 0, sizeof t);
    t.parent.fd = -1;
    t.directory_bytes = UINT64_MAX;
    t.openat2 = true;
    t.root = openat(base, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d/record", base);
    MUST(t.root >= 0 && record_open(&record, path) == 0);
    feed(data, size);
    if (unpack_one(&t, &record, size, diff_id)) replay_all(&t, path, diff_id);
    record_end(&record);
    fail_reset();
    MUST(tree_clear(&t, &top, "tree", false, "tree") >= 0 && unlinkat(base, "record", 0) == 0);
    close(t.root);
    return 0;
}
