// SPDX-License-Identifier: Apache-2.0
// exit.json: written once, whole or not at all, in the form that the daemon's json-file.ts reads (bigints are
// strings that end in n). If its place refuses (a full disk), the run folder gets it.
#include "monitor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool exitfile_write(void) {
    char text[512], spare[PATH_MAX];
    int n =
        snprintf(text, sizeof text,
                 "{\"v\":1,\"code\":%d,\"signal\":%d,\"oomKilled\":%s,\"oomKills\":%" PRIu64
                 ",\"exitedAtNs\":\"%" PRId64 "n\",\"pid\":%d,\"startTicks\":\"%" PRIu64
                 "n\",\"droppedLogLines\":%" PRIu64 ",\"droppedLogBytes\":%" PRIu64 "}\n",
                 the.status.code, the.status.signal, the.oom_killed ? "true" : "false", the.oom_kill_count,
                 the.exited_at_ns, the.pid, the.start_ticks, the.log.dropped_lines, the.log.dropped_bytes);
    int e = replace_file(the.opt.exit_file, text, (size_t)n);
    if (e == 0) return true;
    complain("cannot write %s: %s", the.opt.exit_file, strerror(-e));
    if (snprintf(spare, sizeof spare, "%s/exit.json", the.opt.run_dir) >= (int)sizeof spare) return false;
    return replace_file(spare, text, (size_t)n) == 0;
}
