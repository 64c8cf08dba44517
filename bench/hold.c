// SPDX-License-Identifier: Apache-2.0
// hold: the bench's container process and its peers' sandbox process. Says "ready" once it can be stopped (a
// SIGTERM to a PID 1 without a handler is lost), waits, reaps orphans, and leaves at once on SIGTERM or SIGINT,
// so that a pod's way down measures the runtime and not the program in it.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

static void reap(int signal_number)
{
    (void)signal_number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(void)
{
    struct sigaction act = {.sa_handler = leave};
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    act.sa_handler = reap;
    act.sa_flags = SA_NOCLDSTOP;
    sigaction(SIGCHLD, &act, NULL);
    if (write(STDOUT_FILENO, "ready\n", 6) < 0) {
        // nobody reads: a sandbox process has no output
    }
    for (;;) {
        pause();
    }
}
