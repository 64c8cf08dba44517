// SPDX-License-Identifier: Apache-2.0
/*
 * gantry-unpack: one layer, from standard input into a directory.
 *
 *   gantry-unpack --into DIR --digest sha256:HEX --size BYTES [--diff-id sha256:HEX]
 *                 [--max-bytes N] [--max-entries N] [--max-ratio N] [--devices keep|refuse] [--record FILE]
 *   gantry-unpack --pack DIR --record FILE [--diff-id sha256:HEX]      the tar stream again, on standard
 * output gantry-unpack --verify DIR --record FILE [--diff-id sha256:HEX]    is the tree still what was
 * unpacked?
 *
 * Prints one JSON line (with --pack on standard error) and ends with 0 (the layer is whole and verified,
 * packed or compared) or 1 (an error; what was being unpacked is to be thrown away). A program of its own
 * because it reads hostile input: what goes wrong in here ends here. It does not sync, rename or commit;
 * SIGTERM simply ends it.
 */
#include "record.h"

#include <fcntl.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Signals as the daemon's parent left them must not matter. Limits answer with an errno, not with a signal.
 */
static void reset_process(void) {
    sigset_t none;
    for (int s = 1; s < NSIG; s++) signal(s, s == SIGPIPE || s == SIGXFSZ ? SIG_IGN : SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(0);
    mallopt(M_ARENA_MAX, 1);
    syscall(SYS_close_range, 3u, ~0u, 0u);
    fcntl(STDIN_FILENO, F_SETPIPE_SZ, 1 << 20); /* fewer wake-ups; a refusal costs nothing but those */
}

static int verify(const struct options *o, const struct producer *p, const char *diff_id) {
    if (strcmp(p->blob_digest, o->digest) != 0)
        return fail(KIND_CORRUPT, STAGE_VERIFY, NULL, "the blob has the digest %s, expected %s",
                    p->blob_digest, o->digest);
    if (o->diff_id && strcmp(diff_id, o->diff_id) != 0)
        return fail(KIND_CORRUPT, STAGE_VERIFY, NULL,
                    "the layer's content has the digest %s, the image expects %s", diff_id, o->diff_id);
    return 0;
}

static void print_result(const struct tree *t, const struct producer *p, const char *diff_id) {
    struct json j = {0};
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{",\"blobSize\":", p->got},
                   {",\"entries\":", t->entries},
                   {",\"bytes\":", t->bytes},
                   {",\"inodes\":", t->inodes},
                   {",\"xattrsSkipped\":", t->xattrs_skipped},
                   {",\"zeroDevices\":", t->zero_devices},
                   {",\"impliedCount\":", t->implied_count},
                   {",\"recordBytes\":", t->record->bytes}};
    json_raw(&j, "{\"blobDigest\":");
    json_string(&j, p->blob_digest);
    json_raw(&j, ",\"diffId\":");
    json_string(&j, diff_id);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_raw(&j, numbers[i].key);
        json_number(&j, numbers[i].value);
    }
    json_raw(&j, ",\"lost\":");
    json_string(&j, t->record->lost);
    json_raw(&j, ",\"implied\":[");
    for (size_t i = 0; i < t->implied_named; i++) {
        if (i) json_raw(&j, ",");
        json_string(&j, t->implied[i].path);
    }
    json_raw(&j, "],\"warnings\":");
    json_warnings(&j);
    json_raw(&j, "}\n");
    json_print(&j);
}

static int unpack(const struct options *o, struct tree *t, struct producer *p, char diff_id[DIGEST_TEXT]) {
    static struct ring ring; /* static: the thread may outlive this call when it fails */
    static struct digest digest;
    static struct record record;
    pthread_t thread;
    const char *blob_algorithm = digest_algorithm(o->digest);
    const char *diff_algorithm = o->diff_id ? digest_algorithm(o->diff_id) : "sha256";
    *p = (struct producer){.options = o, .ring = &ring};
    if (digest_start(&p->digest, blob_algorithm) < 0 || digest_start(&digest, diff_algorithm) < 0 ||
        ring_init(&ring) < 0 || record_open(&record, o->record) < 0 || sandbox_enter(t, o) < 0)
        return -1;
    t->record = &record;
    t->refuse_devices = o->refuse_devices;
    struct stream stream = {.ring = &ring, .digest = &digest, .producer = p, .record = &record};
    stream.own_digest = strcmp(blob_algorithm, diff_algorithm) != 0;
    if (pthread_create(&thread, NULL, producer_main, p) != 0)
        return fail(KIND_INTERNAL, STAGE_READ, NULL, "cannot start a thread");
    if (untar(t, &stream, o) < 0) return -1; /* the thread ends with the process */
    pthread_join(thread, NULL);
    if (p->plain && !stream.own_digest)
        memcpy(diff_id, p->blob_digest, DIGEST_TEXT);
    else if (digest_end(&digest, diff_id) < 0)
        return -1;
    return verify(o, p, diff_id) < 0 ? -1 : record_close(&record, t, stream.taken);
}

static int unpack_mode(const struct options *o, struct tree *t) {
    static struct producer producer;
    char diff_id[DIGEST_TEXT] = "";
    if (unpack(o, t, &producer, diff_id) < 0 || failed()) return -1;
    print_result(t, &producer, diff_id);
    return 0;
}

int main(int argc, char **argv) {
    static struct tree tree = {.root = -1, .parent = {.fd = -1}, .directory_bytes = UINT64_MAX};
    struct options options;
    reset_process();
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
    if (options_parse(&options, argc, argv) < 0) fail_exit();
    if (options.mode == MODE_PACK) json_answer = STDERR_FILENO;
    int result = options.mode == MODE_PACK     ? pack(&options, &tree)
                 : options.mode == MODE_VERIFY ? verify_tree(&options, &tree)
                                               : unpack_mode(&options, &tree);
    if (result < 0) fail_exit();
    _exit(0);
}
