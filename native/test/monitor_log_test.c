// SPDX-License-Identifier: Apache-2.0
// The CRI log: lines, splitting against a model, full disks, and what a reopen does. Part of monitor_test.
#include "monitor_test.h"

#include "../monitor/crilog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct crilog_stream out, err;

static struct crilog open_log(const char *name) {
    struct crilog log = {.path = in_root(name), .fd = -1};
    unlink(log.path);
    out = (struct crilog_stream){.name = "stdout"};
    err = (struct crilog_stream){.name = "stderr"};
    CHECK(crilog_open(&log) == 0);
    return log;
}

static char *slurp(const char *name, size_t *len) {
    FILE *f = fopen(in_root(name), "r");
    CHECK(f != NULL);
    if (!f) exit(1);
    char *text = malloc(4 << 20);
    if (!text) exit(1);
    *len = fread(text, 1, (4 << 20) - 1, f);
    text[*len] = 0;
    fclose(f);
    return text;
}

/** Length of a `2026-11-24T09:15:07.248108055Z ` at p, or 0. */
static size_t stamp(const char *p, const char *end) {
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddddddddZ ";
    if ((size_t)(end - p) < sizeof form - 1) return 0;
    for (size_t i = 0; i < sizeof form - 1; i++)
        if (form[i] == 'd' ? p[i] < '0' || p[i] > '9' : p[i] != form[i]) return 0;
    return sizeof form - 1;
}

/** The log without its time stamps; checks that every line has one. */
static char *stripped(const char *name, size_t *len) {
    char *text = slurp(name, len), *to = text, *end = text + *len;
    for (char *p = text; p < end;) {
        size_t n = stamp(p, end);
        CHECK(n > 0);
        p += n;
        char *nl = memchr(p, '\n', (size_t)(end - p));
        CHECK(nl != NULL); // only whole lines
        size_t line = (size_t)((nl ? nl + 1 : end) - p);
        memmove(to, p, line);
        to += line;
        p += line;
    }
    *to = 0;
    *len = (size_t)(to - text);
    return text;
}

static void expect_log(const char *name, const char *want, size_t want_len) {
    size_t len;
    char *have = stripped(name, &len);
    CHECK(len == want_len && memcmp(have, want, len) == 0);
    if (len != want_len || memcmp(have, want, len))
        fprintf(stderr, "--- have\n%.200s\n--- want\n%.200s\n", have, want);
    free(have);
}

static void test_log_lines(void) {
    struct crilog log = open_log("lines");
    crilog_feed(&log, &out, "hello\n\nwor", 10);
    crilog_feed(&log, &err, "bad\n", 4);
    crilog_feed(&log, &out, "ld\n", 3);
    static const char binary[] = "a\0b\xff\r\n";
    crilog_feed(&log, &out, binary, sizeof binary - 1);
    crilog_feed(&log, &out, "no end", 6);
    crilog_finish(&log, &out);
    crilog_finish(&log, &err); // nothing pending: nothing written
    static const char want[] =
        "stdout F hello\nstdout F \nstderr F bad\nstdout F world\nstdout F a\0b\xff\r\n"
        "stdout P no end\n";
    expect_log("lines", want, sizeof want - 1);
    struct stat st;
    CHECK(stat(in_root("lines"), &st) == 0 && (st.st_mode & 07777) == 0640);
    close(log.fd);
    CHECK(log.dropped_lines == 0 && log.dropped_bytes == 0);
}

/** What a reader must find for `n` bytes fed in any pieces. */
static size_t model(const char *data, size_t n, char *to) {
    char *p = to;
    for (size_t i = 0; i < n;) {
        const char *nl = memchr(data + i, '\n', n - i);
        size_t seg = nl ? (size_t)(nl - data) - i : n - i;
        bool cut = seg > CRILOG_PIECE;
        if (cut) seg = CRILOG_PIECE;
        p += sprintf(p, "stdout %c ", cut || !nl ? 'P' : 'F');
        memcpy(p, data + i, seg);
        p += seg;
        *p++ = '\n';
        i += seg + (cut || !nl ? 0 : 1);
    }
    return (size_t)(p - to);
}

static void test_log_splits(void) {
    static const size_t sizes[] = {16383, 16384, 16385, 32767, 32768, 32769, 50000, 49152};
    static char data[300000], want[400000];
    for (int run = 0; run < 60; run++) {
        size_t n = 0;
        if (run < 16) { // a line of an edge size, with and without its newline
            memset(data, 'x', sizes[run / 2]);
            n = sizes[run / 2];
            if (run % 2) data[n++] = '\n';
        } else {
            while (n < 200000) {
                size_t len = random_u32() % 8 ? random_u32() % 300 : random_u32() % 60000;
                for (size_t i = 0; i < len; i++) data[n++] = (char)('a' + i % 26);
                data[n++] = '\n';
            }
            if (run % 2) n--;
        }
        struct crilog log = open_log("splits");
        for (size_t at = 0; at < n;) {
            size_t piece = run % 3 == 0   ? n
                           : run % 3 == 1 ? 1 + random_u32() % 65536
                                          : 1 + random_u32() % 700;
            if (piece > n - at) piece = n - at;
            crilog_feed(&log, &out, data + at, piece);
            at += piece;
        }
        crilog_finish(&log, &out);
        close(log.fd);
        expect_log("splits", want, model(data, n, want));
    }
}

static void test_log_full_disk(void) {
    struct crilog log = open_log("full");
    crilog_feed(&log, &out, "before\n", 7);
    int good = log.fd;
    log.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    crilog_feed(&log, &out, "one\ntwo\n", 8);
    crilog_feed(&log, &out, "thr", 3);
    CHECK(log.dropped_lines == 2 && log.dropped_bytes == 6);
    close(log.fd);
    log.fd = good;
    crilog_feed(&log, &out, "ee\n", 3); // it tries again, and what was pending is complete
    close(log.fd);
    expect_log("full", "stdout F before\nstdout F three\n", 31);
}

/** A limit in the middle of a line: what was written of it is taken off again, whole lines before it stay. */
static void test_log_short_write(void) {
    struct crilog log = open_log("short");
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 100;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    static const char text[] = "first line\nsecond line that is too long for it, and more, and more\nthird\n";
    crilog_feed(&log, &out, text, sizeof text - 1);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    CHECK(log.dropped_lines == 2);
    crilog_feed(&log, &out, "later\n", 6);
    close(log.fd);
    expect_log("short", "stdout F first line\nstdout F later\n", 35);
}

static void test_log_open(void) {
    struct crilog log = open_log("rotated");
    crilog_feed(&log, &out, "old\nhal", 7);
    CHECK(rename(in_root("rotated"), in_root("rotated.1")) == 0);
    CHECK(crilog_open(&log) == 0);
    crilog_feed(&log, &out, "f\n", 2);
    expect_log("rotated.1", "stdout F old\n", 13);
    expect_log("rotated", "stdout F half\n", 14);
    int used = log.fd;
    log.path = in_root("missing/log"); // a reopen that fails keeps the old file
    CHECK(crilog_open(&log) == -ENOENT && log.fd == used);
    log.path = root;
    CHECK(crilog_open(&log) < 0 && log.fd == used);
    CHECK(mkfifo(in_root("fifo"), 0600) == 0);
    log.path = in_root("fifo");
    CHECK(crilog_open(&log) < 0 && log.fd == used);
    CHECK(symlink(in_root("nowhere"), in_root("dangling")) == 0);
    log.path = in_root("dangling");
    CHECK(crilog_open(&log) == 0);
    struct stat st;
    CHECK(lstat(in_root("dangling"), &st) == 0 && S_ISREG(st.st_mode));
    CHECK(lstat(in_root("nowhere"), &st) < 0);
    close(log.fd);
    struct crilog none = {.path = NULL, .fd = -1};
    CHECK(crilog_open(&none) == 0);
    crilog_feed(&none, &out, "x\n", 2);
    CHECK(none.dropped_lines == 0); // nobody asked for a log: nothing is missing
}

void test_log(void) {
    test_log_lines();
    test_log_splits();
    test_log_full_disk();
    test_log_short_write();
    test_log_open();
}
