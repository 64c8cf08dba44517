// SPDX-License-Identifier: Apache-2.0
/*
 * Writes the one result line. Names in a layer are bytes: what is not UTF-8 appears as the four characters
 * \xNN, so that the line is always valid JSON. Out of memory ends the process: there is nothing left to say
 * it with.
 */
#include "unpack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(struct json *j, const char *bytes, size_t n) {
    if (j->cap - j->len < n) {
        size_t cap = (j->cap ? j->cap * 2 : 1024) + n;
        char *grown = realloc(j->buf, cap);
        if (!grown) _exit(2);
        j->buf = grown;
        j->cap = cap;
    }
    memcpy(j->buf + j->len, bytes, n);
    j->len += n;
}

/* Length of the well-formed UTF-8 sequence at s (shortest form, no surrogates), or 0. */
static size_t utf8_length(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

void json_raw(struct json *j, const char *text) { put(j, text, strlen(text)); }

void json_string(struct json *j, const char *text) {
    put(j, "\"", 1);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        char escape[8];
        size_t n = utf8_length(s);
        if (n == 0) {
            put(j, escape, (size_t)snprintf(escape, sizeof escape, "\\\\x%02x", *s));
            n = 1;
        } else if (*s < 0x20 || *s == 0x7f) {
            put(j, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", *s));
        } else {
            if (*s == '"' || *s == '\\') put(j, "\\", 1);
            put(j, (const char *)s, n);
        }
        s += n;
    }
    put(j, "\"", 1);
}

void json_number(struct json *j, uint64_t value) {
    char text[24];
    put(j, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)value));
}

int json_answer = STDOUT_FILENO;

void json_print(struct json *j) {
    for (size_t done = 0; done < j->len;) {
        ssize_t n = write(json_answer, j->buf + done, j->len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) _exit(2);
        done += (size_t)n;
    }
    free(j->buf);
    *j = (struct json){0};
}
