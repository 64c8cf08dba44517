// SPDX-License-Identifier: Apache-2.0
/** Argument copies of one call: freed together, so no member has a list of things to free. */
#include "addon.h"

#include <stdalign.h>
#include <stdlib.h>

struct Chunk {
    Chunk *next;
    alignas(max_align_t) char bytes[];
};

void *arena_alloc(Arena *arena, size_t size) {
    Chunk *chunk = calloc(1, sizeof(Chunk) + size);
    if (!chunk) return NULL;
    chunk->next = arena->head;
    arena->head = chunk;
    return chunk->bytes;
}

void arena_free(Arena *arena) {
    while (arena->head) {
        Chunk *next = arena->head->next;
        free(arena->head);
        arena->head = next;
    }
}
