// SPDX-License-Identifier: Apache-2.0
/* pause: the program of the `pause` test image. Runs until SIGINT or SIGTERM and reaps what it inherits. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int sig) {
    (void)sig;
    _exit(0);
}

static void reap(int sig) {
    (void)sig;
    while (waitpid(-1, NULL, WNOHANG) > 0) continue;
}

int main(void) {
    struct sigaction on_leave = {.sa_handler = leave};
    struct sigaction on_child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
    if (sigaction(SIGINT, &on_leave, NULL) < 0 || sigaction(SIGTERM, &on_leave, NULL) < 0) return 1;
    if (sigaction(SIGCHLD, &on_child, NULL) < 0) return 1;
    for (;;) pause();
}
