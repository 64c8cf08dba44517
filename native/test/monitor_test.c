// SPDX-License-Identifier: Apache-2.0
// Unit tests of what the monitor is made of: frames (against the golden vectors that the TypeScript side
// reads too), the small I/O, and (monitor_log_test.c) the CRI log. Run by `make -C native test` under ASan
// and UBSan. argv[1]: frames.json.
#include "monitor_test.h"

#include "../shared/frame.h"
#include "../shared/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int checks, failures;
char root[] = "/tmp/gt-monitor-test-XXXXXX";

uint32_t random_u32(void) {
    static uint32_t seed = 0x2545f491;
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

const char *in_root(const char *name) {
    static char path[4][256];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", root, name);
    return p;
}

// Frames

static char *vectors;

static size_t vector(const char *name, uint8_t *out, size_t cap) {
    char key[64];
    snprintf(key, sizeof key, "\"name\": \"%s\"", name);
    const char *p = strstr(vectors, key), hex[] = "\"hex\": \"";
    if (p) p = strstr(p, hex);
    CHECK(p != NULL);
    if (!p) return 0;
    size_t n = 0;
    unsigned byte;
    for (p += strlen(hex); n < cap && sscanf(p, "%2x", &byte) == 1; p += 2) out[n++] = (uint8_t)byte;
    return n;
}

static void expect_frame(const char *name, uint8_t type, const void *payload, size_t len) {
    uint8_t want[256], have[256];
    size_t n = vector(name, want, sizeof want);
    frame_header(have, type, (uint32_t)len);
    if (len) memcpy(have + FRAME_HEADER, payload, len);
    CHECK(n == FRAME_HEADER + len && memcmp(want, have, n) == 0);
}

/** Feeds bytes in pieces of at most `piece` until a frame is whole or wrong; the last state. */
static int feed(struct frame_reader *r, const uint8_t *bytes, size_t n, size_t piece) {
    int state = 0;
    while (n > 0 && state == 0) {
        uint8_t *where;
        size_t want = frame_want(r, &where);
        if (want > piece) want = piece;
        if (want > n) want = n;
        memcpy(where, bytes, want);
        bytes += want;
        n -= want;
        state = frame_advance(r, want);
    }
    return state;
}

static void test_sent_frames(void) {
    uint8_t p[64];
    encode_created(p, 4711, 177927);
    expect_frame("created", FRAME_CREATED, p, CREATED_SIZE);
    encode_exit(p, 137, 9, true);
    expect_frame("exit-timed-out", FRAME_EXIT, p, EXIT_SIZE);
    encode_exit(p, 0, 0, false);
    expect_frame("exit-zero", FRAME_EXIT, p, EXIT_SIZE);
    struct status_info s = {.state = 2,
                            .pid = 4711,
                            .start_ticks = 177927,
                            .dropped_lines = 3,
                            .dropped_bytes = 4096,
                            .execs = 2,
                            .code = 137,
                            .signal = 9};
    encode_status(p, &s);
    expect_frame("status", FRAME_STATUS, p, STATUS_SIZE);
    expect_frame("ok", FRAME_OK, "", 0);
    expect_frame("error", FRAME_ERROR, "x", 1);
    put_u32(p, 4712);
    expect_frame("started", FRAME_STARTED, p, 4);
    expect_frame("stdout", FRAME_STDOUT, "o", 1);
    expect_frame("stderr", FRAME_STDERR, "e", 1);
    p[0] = STAGE_CREATE;
    put_u32(p + 1, 1);
    memcpy(p + 5, "no", 2);
    expect_frame("failed-create", FRAME_FAILED, p, 7);
    p[0] = STAGE_EXEC;
    put_u32(p + 1, (uint32_t)-1);
    expect_frame("failed-exec", FRAME_FAILED, p, FAILED_FIXED);
}

static void test_read_frames(void) {
    static const struct {
        const char *name;
        uint8_t type;
        size_t len;
    } cases[] = {
        {"status-get", FRAME_STATUS_GET, 0}, {"reopen-log", FRAME_REOPEN_LOG, 0},
        {"resize-80x24", FRAME_RESIZE, 4},   {"attach-stdin-stdout", FRAME_ATTACH, 1},
        {"exec-tty", FRAME_EXEC, 11},        {"stdin", FRAME_STDIN, 3},
        {"stdin-eof", FRAME_STDIN_EOF, 0},   {"signal-15", FRAME_SIGNAL, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece = 1; piece < 20; piece++) {
            uint8_t bytes[64];
            size_t n = vector(cases[i].name, bytes, sizeof bytes);
            struct frame_reader r = {0};
            CHECK(feed(&r, bytes, n, piece) == 1);
            CHECK(r.type == cases[i].type && r.len == cases[i].len);
            CHECK(r.len == 0 || memcmp(r.payload, bytes + FRAME_HEADER, r.len) == 0);
            frame_reset(&r);
            CHECK(r.payload == NULL && r.header_len == 0);
        }
    }
}

static void test_exec_request(void) {
    uint8_t bytes[64];
    size_t n = vector("exec-tty", bytes, sizeof bytes);
    struct exec_request r;
    CHECK(decode_exec(bytes + FRAME_HEADER, n - FRAME_HEADER, &r));
    CHECK(r.flags == (FLAG_TTY | FLAG_STDIN | FLAG_STDOUT) && r.timeout_ms == 1500 && r.cols == 120 &&
          r.rows == 40);
    CHECK(r.process_len == 2 && memcmp(r.process, "{}", 2) == 0);
    CHECK(!decode_exec(bytes + FRAME_HEADER, EXEC_FIXED, &r)); // no process
    CHECK(!decode_exec(bytes + FRAME_HEADER, 0, &r));
    bytes[FRAME_HEADER] = 0x10; // a flag that does not exist
    CHECK(!decode_exec(bytes + FRAME_HEADER, n - FRAME_HEADER, &r));
}

static void test_frame_limits(void) {
    struct frame_reader r = {0};
    uint8_t header[FRAME_HEADER];
    frame_header(header, FRAME_STDIN, FRAME_MAX + 1);
    CHECK(feed(&r, header, sizeof header, 5) == -1);
    frame_reset(&r);
    frame_header(header, FRAME_STDIN, FRAME_MAX);
    CHECK(feed(&r, header, sizeof header, 5) == 0 && r.payload != NULL);
    frame_reset(&r);
    for (int run = 0; run < 20000; run++) { // random bytes: never more than one payload, never out of bounds
        uint8_t bytes[64];
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)random_u32();
        if (run % 2) bytes[0] = bytes[1] = bytes[2] = 0;
        if (run % 4 == 1) bytes[3] %= 48;
        int state = feed(&r, bytes, sizeof bytes, 1 + random_u32() % 16);
        if (state == 1)
            CHECK(r.got == r.len && r.len <= FRAME_MAX);
        else if (state == -1)
            CHECK(r.len > FRAME_MAX);
        else
            CHECK(state == 0 && r.got < r.len && r.len <= FRAME_MAX);
        frame_reset(&r);
    }
}

// I/O

static void test_replace_file(void) {
    char buf[64];
    CHECK(replace_file(in_root("exit.json"), "one", 3) == 0);
    CHECK(replace_file(in_root("exit.json"), "two!", 4) == 0);
    CHECK(read_file_at(AT_FDCWD, in_root("exit.json"), buf, sizeof buf) == 4 && !strcmp(buf, "two!"));
    CHECK(access(in_root("exit.json.tmp"), F_OK) < 0);
    CHECK(replace_file(in_root("no/exit.json"), "x", 1) == -ENOENT);
    CHECK(mkdir(in_root("folder"), 0700) == 0 && mkdir(in_root("folder/x"), 0700) == 0);
    CHECK(replace_file(in_root("folder"), "x", 1) < 0);
    CHECK(access(in_root("folder.tmp"), F_OK) < 0); // the attempt leaves nothing
    CHECK(read_tail_at(AT_FDCWD, in_root("exit.json"), buf, 4) == 3 && !strcmp(buf, "wo!"));
    CHECK(read_number_at(AT_FDCWD, in_root("exit.json")) == 0);
    CHECK(read_number_at(AT_FDCWD, in_root("absent")) == 0);
    CHECK(replace_file(in_root("pid"), "4711\n", 5) == 0 && read_number_at(AT_FDCWD, in_root("pid")) == 4711);
    CHECK(replace_file(in_root("pid"), "-1", 2) == 0 && read_number_at(AT_FDCWD, in_root("pid")) == 0);
}

static void test_long_socket_path(void) {
    char deep[200];
    memset(deep, 'd', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    CHECK(mkdir(in_root(deep), 0700) == 0);
    int dir = open(in_root(deep), O_PATH | O_DIRECTORY | O_CLOEXEC);
    int sock = listen_at(dir, "ctl.sock", 4);
    CHECK(sock >= 0);
    struct stat st;
    CHECK(fstatat(dir, "ctl.sock", &st, 0) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
    int again = listen_at(dir, "ctl.sock", 4); // an old socket is no obstacle
    CHECK(again >= 0);
    close(again);
    close(sock);
    close(dir);
}

static void send_fd(int sock, int fd) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    CHECK(sendmsg(sock, &msg, 0) == 1);
}

static void test_recv_fd(void) {
    int pair[2], p[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 && pipe2(p, O_CLOEXEC) == 0);
    CHECK(recv_fd(pair[0]) == -1); // nothing there: does not block
    CHECK(write(pair[1], "no fd", 5) == 5);
    CHECK(recv_fd(pair[0]) == -1);
    send_fd(pair[1], p[1]);
    int got = recv_fd(pair[0]);
    CHECK(got >= 0 && (fcntl(got, F_GETFD) & FD_CLOEXEC));
    CHECK(write(got, "y", 1) == 1);
    char byte;
    CHECK(read(p[0], &byte, 1) == 1 && byte == 'y');
    close(got);
    for (int i = 0; i < 2; i++) {
        close(pair[i]);
        close(p[i]);
    }
}

int main(int argc, char **argv) {
    static char text[16384];
    if (argc < 2 || read_file_at(AT_FDCWD, argv[1], text, sizeof text) <= 0 || !mkdtemp(root)) {
        fprintf(stderr, "usage: monitor_test frames.json\n");
        return 2;
    }
    vectors = text;
    umask(022);
    test_sent_frames();
    test_read_frames();
    test_exec_request();
    test_frame_limits();
    test_log();
    test_replace_file();
    test_long_socket_path();
    test_recv_fd();
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    if (system(command) != 0) failures++;
    printf("monitor_test: %d checks, %d failed\n", checks, failures);
    return failures ? 1 : 0;
}
