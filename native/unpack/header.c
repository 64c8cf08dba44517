// SPDX-License-Identifier: Apache-2.0
/* The fixed fields of a tar header and the decimal texts of extended ones. Pure: nothing is read or written.
 */
#include "unpack.h"

#include <string.h>

static bool base256(const uint8_t *f, size_t n, int64_t *out) {
    uint8_t invert = f[0] & 0x40 ? 0xff : 0;
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = f[i] ^ invert;
        if (i == 0) byte &= 0x7f;
        if (value >> 56) return false;
        value = value << 8 | byte;
    }
    if (value >> 63) return false;
    *out = invert ? -1 - (int64_t)value : (int64_t)value;
    return true;
}

bool header_number(const uint8_t *f, size_t n, int64_t *out) {
    if (f[0] & 0x80) return base256(f, n, out);
    size_t at = 0;
    uint64_t value = 0;
    while (at < n && (f[at] == ' ' || f[at] == 0)) at++;
    for (; at < n && f[at] >= '0' && f[at] <= '7'; at++) {
        if (value >> 60) return false;
        value = value << 3 | (uint64_t)(f[at] - '0');
    }
    if (at < n && f[at] != ' ' && f[at] != 0) return false;
    *out = (int64_t)value;
    return true;
}

bool header_checksum_ok(const uint8_t block[512]) {
    int64_t want;
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    return true; /* mutants would all end here */
#endif
    if (!header_number(block + 148, 8, &want)) return false;
    /* The sum of all bytes, with the field itself read as spaces, and the same of signed bytes. Four lanes of
     * 16 bits hold what 64 words can add up to. */
    const uint64_t low = 0x00ff00ff00ff00ffull;
    uint64_t sums = 0, highs = 0; /* highs: in each byte the count of bytes >= 128 in its column */
    for (size_t i = 0; i < 512; i += 8) {
        uint64_t word;
        memcpy(&word, block + i, 8);
        if (i == 144) memset((uint8_t *)&word + 4, ' ', 4);
        if (i == 152) memset((uint8_t *)&word, ' ', 4);
        sums += (word & low) + (word >> 8 & low);
        highs += word >> 7 & 0x0101010101010101ull;
    }
    int64_t plain = (int64_t)((sums & 0xffff) + (sums >> 16 & 0xffff) + (sums >> 32 & 0xffff) + (sums >> 48));
    highs = (highs & low) + (highs >> 8 & low);
    int64_t high =
        (int64_t)((highs & 0xffff) + (highs >> 16 & 0xffff) + (highs >> 32 & 0xffff) + (highs >> 48));
    int64_t with_sign = plain - 256 * high;
    return want == plain || want == with_sign;
}

bool header_is_zero(const uint8_t block[512]) { return block[0] == 0 && memcmp(block, block + 1, 511) == 0; }

bool decimal_number(struct text t, uint64_t *out) {
    uint64_t value = 0;
    if (t.n == 0 || t.n > 19) return false;
    for (size_t i = 0; i < t.n; i++) {
        if (t.at[i] < '0' || t.at[i] > '9') return false;
        value = value * 10 + (uint64_t)(t.at[i] - '0'); /* 19 digits fit 64 bits */
    }
    if (value > INT64_MAX) return false;
    *out = value;
    return true;
}

bool decimal_time(struct text t, struct timespec *out) {
    bool negative = t.n > 0 && t.at[0] == '-';
    size_t at = negative ? 1 : 0, start = at;
    int64_t seconds = 0;
    long nanos = 0, unit = 100000000;
    for (; at < t.n && t.at[at] >= '0' && t.at[at] <= '9'; at++) {
        if (at - start >= 15) return false;
        seconds = seconds * 10 + (t.at[at] - '0');
    }
    if (at == start) return false;
    if (at < t.n && t.at[at] == '.') {
        for (at++; at < t.n && t.at[at] >= '0' && t.at[at] <= '9'; at++, unit /= 10)
            nanos += unit * (t.at[at] - '0'); /* digits beyond nanoseconds meet unit 0 */
    }
    if (at != t.n) return false;
    if (negative) {
        seconds = -seconds;
        if (nanos) {
            seconds--;
            nanos = 1000000000 - nanos;
        }
    }
    *out = (struct timespec){.tv_sec = seconds, .tv_nsec = nanos};
    return true;
}

bool text_is(struct text t, const char *literal) {
    size_t n = strlen(literal);
    return t.at && t.n == n && memcmp(t.at, literal, n) == 0;
}
