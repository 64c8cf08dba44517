// SPDX-License-Identifier: Apache-2.0
/* Digests of streams by libcrypto (SHA-NI where the CPU has it). Started before the sandbox is entered. */
#include "unpack.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t hex;
} algorithms[] = {{"sha256", 64}, {"sha512", 128}};

const char *digest_algorithm(const char *text) {
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
        size_t n = strlen(algorithms[i].name);
        if (strncmp(text, algorithms[i].name, n) != 0 || text[n] != ':') continue;
        const char *hex = text + n + 1;
        if (strlen(hex) == algorithms[i].hex && strspn(hex, "0123456789abcdef") == algorithms[i].hex)
            return algorithms[i].name;
    }
    return NULL;
}

int digest_start(struct digest *d, const char *algorithm) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const EVP_MD *md = strcmp(algorithm, "sha512") == 0 ? EVP_sha512() : EVP_sha256();
    if (!ctx || EVP_DigestInit_ex(ctx, md, NULL) != 1)
        return fail(KIND_INTERNAL, STAGE_VERIFY, NULL, "libcrypto offers no %s", algorithm);
    d->ctx = ctx;
    d->algorithm = algorithm;
    return 0;
}

int digest_add(struct digest *d, const void *data, size_t n) {
    if (EVP_DigestUpdate(d->ctx, data, n) != 1)
        return fail(KIND_INTERNAL, STAGE_VERIFY, NULL, "libcrypto failed to digest");
    return 0;
}

int digest_end(struct digest *d, char out[DIGEST_TEXT]) {
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(d->ctx, raw, &n) != 1)
        return fail(KIND_INTERNAL, STAGE_VERIFY, NULL, "libcrypto failed to end a digest");
    int at = snprintf(out, DIGEST_TEXT, "%s:", d->algorithm);
    for (unsigned i = 0; i < n; i++) at += snprintf(out + at, DIGEST_TEXT - (size_t)at, "%02x", raw[i]);
    return 0;
}
