// SPDX-License-Identifier: Apache-2.0
// gantry-pause: PID 1 of a pod whose containers share a PID namespace. Reaps every orphan, waits, and leaves
// on SIGTERM or SIGINT. Takes no arguments, opens nothing, needs no C library. All signals are blocked and
// waited for: a blocked signal reaches even a PID 1 that has no handler for it.
#include "../shared/raw.h"

#define SIGINT_NO      2
#define SIGTERM_NO     15
#define SIGCHLD_NO     17
#define PR_SET_NAME_NO 15
#define WNOHANG_FLAG   1

int raw_main(long argc, char **argv) {
    static const char name[] = "gantry-pause";
    (void)argc;
    (void)argv;
    raw_call(__NR_prctl, PR_SET_NAME_NO, (long)name, 0, 0);
    raw_block_all_signals();
    for (;;) {
        while (raw_call(__NR_wait4, -1, 0, WNOHANG_FLAG, 0) > 0) continue;
        long sig = raw_wait_signal(RAW_SIG(SIGINT_NO) | RAW_SIG(SIGTERM_NO) | RAW_SIG(SIGCHLD_NO));
        if (sig == SIGINT_NO || sig == SIGTERM_NO) return 0;
    }
}
