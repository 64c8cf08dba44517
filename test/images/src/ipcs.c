// SPDX-License-Identifier: Apache-2.0
/*
 * ipcs, for the test images: lists the shared memory segments of the IPC namespace whatever the arguments
 * are. No digit may be in its headings: a test looks for a segment's number anywhere in the output.
 */
#include <stdio.h>

int main(void) {
    char line[512];
    long long key = 0;
    long long id = 0;
    puts("------ Shared Memory Segments --------\nkey        shmid");
    FILE *file = fopen("/proc/sysvipc/shm", "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "%lld %lld", &key, &id) == 2) /* the heading of the file does not match */
            printf("0x%08llx %lld\n", (unsigned long long)key & 0xffffffffULL, id);
    fclose(file);
    return 0;
}
