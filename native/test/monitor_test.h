// SPDX-License-Identifier: Apache-2.0
// What the files of the monitor's C test share: counted checks, reproducible chance, and the test's own
// folder.
#ifndef GANTRY_MONITOR_TEST_H
#define GANTRY_MONITOR_TEST_H

#include <stdint.h>
#include <stdio.h>

extern int checks, failures;
extern char root[];

#define CHECK(what)                                                                                          \
    do {                                                                                                     \
        checks++;                                                                                            \
        if (!(what)) {                                                                                       \
            if (failures < 20) fprintf(stderr, "%s:%d: not true: %s\n", __func__, __LINE__, #what);          \
            failures++;                                                                                      \
        }                                                                                                    \
    } while (0)

uint32_t random_u32(void);
/** A path in the test's folder; the last four results stay valid. */
const char *in_root(const char *name);
void test_log(void);

#endif
