// SPDX-License-Identifier: Apache-2.0
/*
 * pgrep WORD, for the test images: prints the pid of every process whose comm contains WORD, itself left out.
 * Exits 0 when there was one, 1 when there was none, 2 on misuse. Debian's busybox has no pgrep.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int comm_contains(int pid, const char *word) {
    char path[64];
    char comm[64] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0; /* gone meanwhile */
    char *got = fgets(comm, sizeof comm, file);
    fclose(file);
    return got != NULL && strstr(comm, word) != NULL;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    DIR *proc = opendir("/proc");
    if (proc == NULL) return 2;
    int found = 0;
    for (struct dirent *entry = readdir(proc); entry != NULL; entry = readdir(proc)) {
        int pid = atoi(entry->d_name);
        if (pid <= 0 || pid == getpid() || !comm_contains(pid, argv[1])) continue;
        printf("%d\n", pid);
        found = 1;
    }
    closedir(proc);
    return found ? 0 : 1;
}
