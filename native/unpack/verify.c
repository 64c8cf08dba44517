// SPDX-License-Identifier: Apache-2.0
/*
 * Holds a tree against its record: every entry is there, of its type, size, owner and mode; with a diff ID
 * also every byte. Ends at the first difference, which is the result and no failure. What the tree has beyond
 * its record is not looked for.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

static int differs(struct verdict *v, const char *path, const char *problem) {
    v->different = true;
    v->path = path;
    snprintf(v->problem, sizeof v->problem, "%s", problem);
    return 0;
}

static int check_opaque(struct verdict *v, struct look *l, const struct replay *r, int parent,
                        const char *name) {
    char value = 0;
    int fd = openat(parent, name[0] ? name : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool marked = fd >= 0 && fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
    if (fd >= 0) close(fd);
    return marked ? 0 : differs(v, r->path, "the directory has lost its mark that hides the layers below");
}

/* Holds one entry against what is there. */
static int check(struct verdict *v, struct look *l, const struct replay *r) {
    const char *name;
    const struct fact *want = &r->fact;
    struct fact have;
    v->entries++;
    int parent = look_parent(l, r->path, &name);
    if (parent < 0 || fact_of(parent, name, &have) < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                   ? differs(v, r->path, "it is missing")
                   : fail_errno(STAGE_READ, r->path, "look at an entry");
    if (want->type == 'o') return check_opaque(v, l, r, parent, name);
    if (want->type == '1') return have.type == '5' ? differs(v, r->path, "a file has become a directory") : 0;
    /* A 0:0 device that the archive has by itself is a whiteout to the kernel, and to the look at it. */
    if (have.type != want->type && !(have.type == 'w' && want->type == '3' && want->rdev == 0))
        return differs(v, r->path, "it is of another type than it was unpacked as");
    if (want->type == 'w') return 0;
    if ((want->type == '0' || want->type == '2') && have.size != want->size)
        return differs(v, r->path, "its size is not what it was unpacked with");
    if ((want->type == '3' || want->type == '4') && have.rdev != want->rdev)
        return differs(v, r->path, "it is another device than it was unpacked as");
    if (have.uid != want->uid || have.gid != want->gid)
        return differs(v, r->path, "its owner is not the one it was unpacked with");
    if (want->type != '2' && have.mode != want->mode)
        return differs(v, r->path, "its mode is not the one it was unpacked with");
    return 0;
}

int verify_walk(struct verdict *v, struct replay *r, struct look *l, struct sink *content) {
    const char entry = r->flags & RECORD_WALKED ? 'W' : 'E';
    char op = 0;
    while (op != 'Z' && !v->different) {
        if (replay_next(r, &op) < 0) return -1;
        if (op == 'E') look_next(l);
        if (op == entry && check(v, l, r) < 0) return -1;
        if (content && (op == 'R' || op == 'N') && sink_raw(content, r) < 0) return -1;
        if (content && op == 'P' && sink_payload(content, l, r) < 0) return -1;
    }
    return 0;
}

static void print(const struct verdict *v) {
    struct json j = {0};
    json_raw(&j, "{\"entries\":");
    json_number(&j, v->entries);
    json_raw(&j, ",\"path\":");
    json_string(&j, v->different && v->path ? v->path : "");
    json_raw(&j, ",\"problem\":");
    json_string(&j, v->problem);
    json_raw(&j, "}\n");
    json_print(&j);
}

int verify_tree(const struct options *o, struct tree *t) {
    static struct replay replay;
    static struct look look;
    struct sink sink;
    struct verdict verdict = {0};
    char digest[DIGEST_TEXT];
    bool opened = replay_open(&replay, o->record) == 0;
    if ((!opened && !fail_corrupt(NULL)) || sink_start(&sink, o->diff_id, true) < 0 ||
        sandbox_enter(t, o) < 0)
        return -1;
    look_start(&look, t);
    if (opened && replay_start(&replay) == 0) {
        bool deep = o->diff_id && !(replay.flags & RECORD_LOST);
        if (verify_walk(&verdict, &replay, &look, deep ? &sink : NULL) == 0 && deep && !verdict.different)
            sink_end(&sink, &replay, o->diff_id, digest);
    }
    if (failed()) {
        const char *problem = fail_corrupt(&verdict.path);
        if (!problem) return -1;
        differs(&verdict, verdict.path, problem);
    }
    print(&verdict);
    return 0;
}
