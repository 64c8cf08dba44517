// SPDX-License-Identifier: Apache-2.0
// See crilog.h. Many lines may go out in one writev(), but each writev() holds whole lines only; a short
// write (full disk) is cut back to the last whole line. As long as the disk is full, room is asked for before
// a write, so that a reader can meet half a line only once, at the moment the disk fills up.
#include "crilog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAX_RECORDS 64
#define PREFIX_MAX  64

/** One writev() in the making. `end` and `content` are per record: where it ends in the write, what it
 * carries. */
struct batch {
    struct crilog *log;
    struct iovec iov[MAX_RECORDS * 4];
    int iovs;
    size_t end[MAX_RECORDS];
    size_t content[MAX_RECORDS];
    int records;
    size_t total;
    char prefix[2][PREFIX_MAX]; // [0] F, [1] P
    size_t prefix_len;
};

static void make_prefixes(struct batch *b, const char *name) {
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    int n =
        snprintf(b->prefix[0], PREFIX_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ %s F ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec, name);
    b->prefix_len = n < PREFIX_MAX ? (size_t)n : PREFIX_MAX - 1;
    memcpy(b->prefix[1], b->prefix[0], PREFIX_MAX);
    b->prefix[1][b->prefix_len - 2] = 'P';
}

static void push(struct batch *b, const void *data, size_t len) {
    if (len == 0) return;
    b->iov[b->iovs++] = (struct iovec){(void *)(uintptr_t)data, len};
    b->total += len;
}

/** Writes as much as goes; returns the number of bytes that are in the file. */
static size_t write_batch(struct batch *b) {
    size_t done = 0;
    struct iovec *iov = b->iov;
    int left = b->iovs;
    while (left > 0) {
        ssize_t n = writev(b->log->fd, iov, left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        done += (size_t)n;
        while (left > 0 && (size_t)n >= iov->iov_len) {
            n -= (ssize_t)iov->iov_len;
            iov++;
            left--;
        }
        if (left > 0) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    return done;
}

/** Takes the half line of a failed write off the end of the file again. */
static void cut_back(int fd, size_t bytes) {
    struct stat st;
    if (bytes > 0 && fstat(fd, &st) == 0 && st.st_size >= (off_t)bytes) {
        if (ftruncate(fd, st.st_size - (off_t)bytes) < 0) return; // nothing more can be done about it
    }
}

/** On a disk that was full: is there room for the whole batch? File systems that cannot say so count as yes.
 */
static bool has_room(const struct batch *b) {
    struct stat st;
    if (!b->log->tight || fstat(b->log->fd, &st) < 0) return true;
    if (fallocate(b->log->fd, FALLOC_FL_KEEP_SIZE, st.st_size, (off_t)b->total) == 0) return true;
    return errno != ENOSPC && errno != EDQUOT;
}

static void flush_batch(struct batch *b) {
    if (b->records > 0 && b->log->fd >= 0) {
        size_t done = has_room(b) ? write_batch(b) : 0;
        b->log->tight = done < b->total;
        if (b->log->tight) {
            int whole = 0;
            while (whole < b->records && b->end[whole] <= done) whole++;
            cut_back(b->log->fd, done - (whole ? b->end[whole - 1] : 0));
            for (int i = whole; i < b->records; i++) {
                b->log->dropped_lines++;
                b->log->dropped_bytes += b->content[i];
            }
        }
    }
    b->records = b->iovs = 0;
    b->total = 0;
}

/** Adds one line: what was pending, then `n` bytes of `data` (which are followed by '\n' if `newline`). */
static void add_line(struct batch *b, struct crilog_stream *s, const char *data, size_t n, bool newline) {
    push(b, b->prefix[newline ? 0 : 1], b->prefix_len);
    push(b, s->pending, s->len);
    push(b, data, newline ? n + 1 : n);
    if (!newline) push(b, "\n", 1);
    b->content[b->records] = s->len + n;
    b->end[b->records++] = b->total;
    s->len = 0; // its bytes stay in `pending` until the batch is flushed: nothing is copied there before that
    if (b->records == MAX_RECORDS) flush_batch(b);
}

void crilog_feed(struct crilog *log, struct crilog_stream *s, const char *data, size_t n) {
    if (log->fd < 0 || n == 0) return;
    struct batch b;
    b.log = log;
    b.iovs = b.records = 0;
    b.total = 0;
    make_prefixes(&b, s->name);
    while (n > 0) {
        const char *nl = memchr(data, '\n', n);
        size_t seg = nl ? (size_t)(nl - data) : n;
        while (s->len + seg > CRILOG_PIECE) {
            size_t take = CRILOG_PIECE - s->len;
            add_line(&b, s, data, take, false);
            data += take;
            n -= take;
            seg -= take;
        }
        if (nl) {
            add_line(&b, s, data, seg, true);
            data += seg + 1;
            n -= seg + 1;
        } else {
            flush_batch(&b);
            memcpy(s->pending + s->len, data, seg);
            s->len += seg;
            n = 0;
        }
    }
    flush_batch(&b);
}

void crilog_finish(struct crilog *log, struct crilog_stream *s) {
    if (log->fd < 0 || s->len == 0) return;
    struct batch b;
    b.log = log;
    b.iovs = b.records = 0;
    b.total = 0;
    make_prefixes(&b, s->name);
    add_line(&b, s, "", 0, false);
    flush_batch(&b);
}

int crilog_open(struct crilog *log) {
    if (!log->path) return 0;
    struct stat st;
    if (lstat(log->path, &st) == 0 && S_ISLNK(st.st_mode) && stat(log->path, &st) < 0 && errno == ENOENT)
        unlink(log->path);
    int fd = open(log->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (fd < 0) return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }
    if (log->fd >= 0) close(log->fd);
    log->fd = fd;
    log->tight = false;
    return 0;
}
