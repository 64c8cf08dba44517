// SPDX-License-Identifier: Apache-2.0
// gantry-hello: the whole content of the image that the daemon's self-check runs. Says one line on stdout;
// then leaves if told `once`, else waits for SIGTERM (or SIGINT).
#include "../shared/raw.h"

#define SIGINT_NO  2
#define SIGTERM_NO 15

static int is_once(const char *s) {
    const char *once = "once";
    while (*s && *s == *once) {
        s++;
        once++;
    }
    return *s == *once;
}

int raw_main(long argc, char **argv) {
    static const char line[] = "hello from gantry\n";
    raw_block_all_signals();
    if (raw_call(__NR_write, 1, (long)line, sizeof line - 1, 0) != (long)sizeof line - 1) return 1;
    if (argc > 1 && is_once(argv[1])) return 0;
    for (;;) {
        long sig = raw_wait_signal(RAW_SIG(SIGINT_NO) | RAW_SIG(SIGTERM_NO));
        if (sig == SIGINT_NO || sig == SIGTERM_NO) return 0;
    }
}
