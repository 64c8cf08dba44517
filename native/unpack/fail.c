// SPDX-License-Identifier: Apache-2.0
/* The one failure and the warnings of a run. Both threads may write; the first failure stays. */
#include "unpack.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WARNINGS 16

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    bool set;
    enum kind kind;
    enum stage stage;
    char path[MAX_PATH];
    char message[512];
} first;
static const char *entry_at_hand; /* of the consumer, which alone fails at STAGE_TAR */
static char warnings[WARNINGS][200];
static unsigned warning_count;

int fail(enum kind kind, enum stage stage, const char *path, const char *format, ...) {
    pthread_mutex_lock(&lock);
    if (!first.set) {
        va_list args;
        va_start(args, format);
        vsnprintf(first.message, sizeof first.message, format, args);
        va_end(args);
        if (!path && stage == STAGE_TAR) path = entry_at_hand;
        snprintf(first.path, sizeof first.path, "%s", path ? path : "");
        first.kind = kind;
        first.stage = stage;
        first.set = true;
    }
    pthread_mutex_unlock(&lock);
    return -1;
}

int fail_errno(enum stage stage, const char *path, const char *doing) {
    int error = errno;
    enum kind kind = KIND_INTERNAL;
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMLINK:
    case ENOMEM:
        kind = KIND_EXHAUSTED;
        break;
    case ENAMETOOLONG:
    case ELOOP:
    case ENOTDIR:
    case ENOENT:
        kind = stage == STAGE_WRITE ? KIND_CORRUPT : KIND_INTERNAL;
        break;
    default:
        break;
    }
    return fail(kind, stage, path, "%s: %s", doing, strerror(error));
}

void fail_entry(const char *name) { entry_at_hand = name; }

void fail_reset(void) {
    first.set = false;
    warning_count = 0;
}

bool failed(void) {
    pthread_mutex_lock(&lock);
    bool set = first.set;
    pthread_mutex_unlock(&lock);
    return set;
}

const char *fail_corrupt(const char **path) {
    if (!failed() || first.kind != KIND_CORRUPT) return NULL;
    if (path) *path = first.path;
    return first.message;
}

void warn_once(const char *format, ...) {
    char text[sizeof warnings[0]];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&lock);
    bool known = warning_count == WARNINGS;
    for (unsigned i = 0; i < warning_count && !known; i++) known = strcmp(warnings[i], text) == 0;
    if (!known) memcpy(warnings[warning_count++], text, sizeof text);
    pthread_mutex_unlock(&lock);
}

void json_warnings(struct json *j) {
    json_raw(j, "[");
    for (unsigned i = 0; i < warning_count; i++) {
        if (i) json_raw(j, ",");
        json_string(j, warnings[i]);
    }
    json_raw(j, "]");
}

_Noreturn void fail_exit(void) {
    static const char *const kinds[] = {"corrupt", "unsupported", "exhausted", "internal"};
    static const char *const stages[] = {"read", "inflate", "tar", "write", "verify"};
    pthread_mutex_lock(&lock); /* never given back: nothing may change the story while it is told */
    struct json j = {0};
    json_raw(&j, "{\"error\":{\"kind\":");
    json_string(&j, kinds[first.set ? first.kind : KIND_INTERNAL]);
    json_raw(&j, ",\"stage\":");
    json_string(&j, stages[first.stage]);
    json_raw(&j, ",\"path\":");
    json_string(&j, first.path);
    json_raw(&j, ",\"message\":");
    json_string(&j, first.set ? first.message : "stopped without a reason");
    json_raw(&j, "},\"warnings\":");
    json_warnings(&j);
    json_raw(&j, "}\n");
    json_print(&j);
    _exit(1);
}
