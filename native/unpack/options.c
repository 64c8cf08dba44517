// SPDX-License-Identifier: Apache-2.0
/* The command line. Every option takes one value; an unknown one is an error, not a guess. */
#include "unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int number(const char *name, const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    if (text[0] < '0' || text[0] > '9')
        return fail(KIND_INTERNAL, STAGE_READ, NULL, "option %s needs a number, not '%s'", name, text);
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || value > INT64_MAX)
        return fail(KIND_INTERNAL, STAGE_READ, NULL, "option %s needs a number, not '%s'", name, text);
    *out = value;
    return 0;
}

static int digest_text(const char *name, const char *text, const char **out) {
    if (!digest_algorithm(text))
        return fail(KIND_UNSUPPORTED, STAGE_VERIFY, NULL,
                    "option %s needs sha256: or sha512: and lower-case hex, not '%s'", name, text);
    *out = text;
    return 0;
}

static int directory(struct options *o, enum mode mode, const char *value) {
    if (o->into) return fail(KIND_INTERNAL, STAGE_READ, NULL, "one of --into, --pack and --verify, and once");
    o->mode = mode;
    o->into = value;
    return 0;
}

static int one(struct options *o, const char *name, const char *value) {
    if (strcmp(name, "--into") == 0) return directory(o, MODE_UNPACK, value);
    if (strcmp(name, "--pack") == 0) return directory(o, MODE_PACK, value);
    if (strcmp(name, "--verify") == 0) return directory(o, MODE_VERIFY, value);
    if (strcmp(name, "--record") == 0) return o->record = value, 0;
    if (strcmp(name, "--digest") == 0) return digest_text(name, value, &o->digest);
    if (strcmp(name, "--diff-id") == 0) return digest_text(name, value, &o->diff_id);
    if (strcmp(name, "--size") == 0) return number(name, value, &o->size);
    if (strcmp(name, "--max-bytes") == 0) return number(name, value, &o->max_bytes);
    if (strcmp(name, "--max-entries") == 0) return number(name, value, &o->max_entries);
    if (strcmp(name, "--max-ratio") == 0) return number(name, value, &o->max_ratio);
    if (strcmp(name, "--devices") == 0 && strcmp(value, "keep") == 0) return o->refuse_devices = false, 0;
    if (strcmp(name, "--devices") == 0 && strcmp(value, "refuse") == 0) return o->refuse_devices = true, 0;
    if (strcmp(name, "--whiteouts") == 0 && strcmp(value, "overlay") == 0) return 0;
    return fail(KIND_INTERNAL, STAGE_READ, NULL, "unknown option %s %s", name, value);
}

int options_parse(struct options *o, int argc, char **argv) {
    *o = (struct options){.size = UINT64_MAX,
                          .max_bytes = DEFAULT_MAX_BYTES,
                          .max_entries = DEFAULT_MAX_ENTRIES,
                          .max_ratio = DEFAULT_MAX_RATIO};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return fail(KIND_INTERNAL, STAGE_READ, NULL, "option %s needs a value", argv[i]);
        if (one(o, argv[i], argv[i + 1]) < 0) return -1;
    }
    if (o->mode != MODE_UNPACK)
        return o->record ? 0 : fail(KIND_INTERNAL, STAGE_READ, NULL, "--record is needed");
    if (!o->into || !o->digest || o->size == UINT64_MAX)
        return fail(KIND_INTERNAL, STAGE_READ, NULL, "--into, --digest and --size are needed");
    return 0;
}
