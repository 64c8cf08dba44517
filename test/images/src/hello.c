// SPDX-License-Identifier: Apache-2.0
/*
 * hello [SECONDS [CODE]]: the whole of the smallest test image. Writes one line to each of stdout and stderr,
 * sleeps that long (0), and exits with CODE (0).
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    puts("hello from gantry");
    fflush(stdout);
    fputs("hello on stderr\n", stderr);
    unsigned left = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    while (left > 0) left = sleep(left);
    return argc > 2 ? atoi(argv[2]) : 0;
}
