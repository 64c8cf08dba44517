// SPDX-License-Identifier: Apache-2.0
/*
 * Extended headers: "LENGTH KEY=VALUE\n" records. Values are bytes and stay where they are: the texts point
 * into the block, which the caller keeps until the entry is done. An empty value takes an earlier one back.
 */
#include "unpack.h"

#include <string.h>

static bool starts(struct text t, const char *prefix) {
    size_t n = strlen(prefix);
    return t.n >= n && memcmp(t.at, prefix, n) == 0;
}

static int add_xattr(struct pax *pax, struct text key, struct text value) {
    size_t prefix = strlen("SCHILY.xattr.");
    struct text name = {key.at + prefix, key.n - prefix};
    if (name.n == 0 || name.n > MAX_COMPONENT || memchr(name.at, 0, name.n))
        return fail(KIND_CORRUPT, STAGE_TAR, NULL, "an extended attribute with a bad name");
    if (value.n > MAX_XATTR_VALUE)
        return fail(KIND_UNSUPPORTED, STAGE_TAR, NULL,
                    "the extended attribute %.*s has %zu bytes, the most is %u", (int)name.n, name.at,
                    value.n, MAX_XATTR_VALUE);
    if (pax->xattr_count == MAX_XATTRS)
        return fail(KIND_UNSUPPORTED, STAGE_TAR, NULL, "an entry with more than %u extended attributes",
                    MAX_XATTRS);
    pax->xattrs[pax->xattr_count++] = (struct xattr){name, value};
    return 0;
}

/* Format 0.0: GNU.sparse.offset and GNU.sparse.numbytes come in turn, one record each. */
static int add_pair(struct pax *pax, struct sparse *sparse, struct text value, bool offset) {
    uint64_t number;
    if (!decimal_number(value, &number))
        return fail(KIND_CORRUPT, STAGE_TAR, NULL, "a sparse map with a bad number");
    pax->sparse_pairs = true;
    if (offset) return sparse_add(sparse, number, UINT64_MAX); /* its length is the next record */
    struct extent *last = sparse->count ? &sparse->extents[sparse->count - 1] : NULL;
    if (!last || last->length != UINT64_MAX)
        return fail(KIND_CORRUPT, STAGE_TAR, NULL, "a sparse map with a length before its offset");
    last->length = number;
    return 0;
}

static int record(struct pax *pax, struct sparse *sparse, struct text key, struct text value) {
    const struct {
        const char *name;
        struct text *to;
    } known[] = {
        {"path", &pax->path},
        {"linkpath", &pax->linkpath},
        {"size", &pax->size},
        {"uid", &pax->uid},
        {"gid", &pax->gid},
        {"mtime", &pax->mtime},
        {"GNU.sparse.name", &pax->sparse_name},
        {"GNU.sparse.major", &pax->sparse_major},
        {"GNU.sparse.minor", &pax->sparse_minor},
        {"GNU.sparse.size", &pax->sparse_size},
        {"GNU.sparse.realsize", &pax->sparse_realsize},
        {"GNU.sparse.map", &pax->sparse_map},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (text_is(key, known[i].name)) {
            *known[i].to = value.n ? value : (struct text){0};
            return 0;
        }
    if (starts(key, "SCHILY.xattr.")) return add_xattr(pax, key, value);
    if (text_is(key, "GNU.sparse.offset")) return add_pair(pax, sparse, value, true);
    if (text_is(key, "GNU.sparse.numbytes")) return add_pair(pax, sparse, value, false);
    return 0; /* unknown keys are allowed by the format */
}

/* Splits the first record off *rest. */
static int split(struct text *rest, struct text *key, struct text *value) {
    size_t digits = 0, length = 0;
    while (digits < rest->n && digits < 8 && rest->at[digits] >= '0' && rest->at[digits] <= '9')
        length = length * 10 + (size_t)(rest->at[digits++] - '0');
    if (digits == 0 || digits >= rest->n || rest->at[digits] != ' ' || length > rest->n ||
        length < digits + 3 || rest->at[length - 1] != '\n')
        return fail(KIND_CORRUPT, STAGE_TAR, NULL, "a malformed record in an extended header");
    const char *start = rest->at + digits + 1, *end = rest->at + length - 1;
    const char *equals = memchr(start, '=', (size_t)(end - start));
    if (!equals || equals == start)
        return fail(KIND_CORRUPT, STAGE_TAR, NULL, "a record without a key in an extended header");
    *key = (struct text){start, (size_t)(equals - start)};
    *value = (struct text){equals + 1, (size_t)(end - equals - 1)};
    *rest = (struct text){rest->at + length, rest->n - length};
    return 0;
}

int pax_parse(struct pax *pax, struct sparse *sparse, struct text block) {
    while (block.n > 0) {
        struct text key = {0}, value = {0};
        if (split(&block, &key, &value) < 0 || record(pax, sparse, key, value) < 0) return -1;
    }
    return 0;
}
