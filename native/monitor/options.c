// SPDX-License-Identifier: Apache-2.0
// argv of the monitor: `--name value` pairs and a few switches. Checks only what it needs to start.
#include "monitor.h"

#include <string.h>

struct name {
    const char *name;
    const char **value;
};

static const char *add_oom(struct options *o, char *arg) {
    char *colon = strrchr(arg, ':');
    if (!colon || colon == arg || !colon[1]) return "--oom-file wants PATH:KEY";
    if (o->oom_count == MAX_OOM_FILES) return "too many --oom-file";
    *colon = 0;
    o->oom_path[o->oom_count] = arg;
    o->oom_key[o->oom_count++] = colon + 1;
    return NULL;
}

static bool take_switch(struct options *o, const char *arg) {
    bool *flag = !strcmp(arg, "--tty")          ? &o->tty
                 : !strcmp(arg, "--stdin")      ? &o->stdin_open
                 : !strcmp(arg, "--stdin-once") ? &o->stdin_once
                 : !strcmp(arg, "--sandboxed")  ? &o->sandboxed
                                                : NULL;
    if (flag) *flag = true;
    return flag != NULL;
}

static const char *take_value(struct options *o, const char *arg, char *value) {
    const struct name names[] = {
        {"--id", &o->id},
        {"--runtime", &o->runtime},
        {"--runtime-root", &o->runtime_root},
        {"--bundle", &o->bundle},
        {"--log", &o->log},
        {"--run-dir", &o->run_dir},
        {"--exit-file", &o->exit_file},
        {"--cgroup-procs", &o->cgroup_procs},
        {"--stdio-owner", &o->stdio_owner},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(arg, names[i].name)) continue;
        *names[i].value = value;
        return NULL;
    }
    if (!strcmp(arg, "--oom-file")) return add_oom(o, value);
    if (strcmp(arg, "--runtime-arg")) return "unknown option";
    if (o->runtime_arg_count == MAX_RUNTIME_ARGS) return "too many --runtime-arg";
    o->runtime_args[o->runtime_arg_count++] = value;
    return NULL;
}

const char *options_parse(int argc, char **argv, struct options *o) {
    for (int i = 1; i < argc; i++) {
        if (take_switch(o, argv[i])) continue;
        if (i + 1 == argc) return "unknown option, or an option without its value";
        const char *problem = take_value(o, argv[i], argv[i + 1]);
        if (problem) return problem;
        i++;
    }
    if (!o->id || !o->runtime || !o->bundle || !o->run_dir || !o->exit_file)
        return "--id, --runtime, --bundle, --run-dir and --exit-file are needed";
    return NULL;
}
