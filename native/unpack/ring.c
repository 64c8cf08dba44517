// SPDX-License-Identifier: Apache-2.0
/* A ring of slots between two threads. Waits are condition waits: no spinning, the peer may be slow for long.
 */
#include "unpack.h"

#include <sys/mman.h>

int ring_init(struct ring *r) {
    *r = (struct ring){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    void *memory =
        mmap(NULL, (size_t)SLOTS * SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return fail_errno(STAGE_INFLATE, NULL, "allocate the ring");
    r->memory = memory;
    return 0;
}

uint8_t *ring_slot(struct ring *r) {
    pthread_mutex_lock(&r->lock);
    while (!r->broken && r->head - r->tail == SLOTS) pthread_cond_wait(&r->changed, &r->lock);
    uint8_t *slot = r->broken ? NULL : r->memory + (size_t)(r->head % SLOTS) * SLOT_BYTES;
    pthread_mutex_unlock(&r->lock);
    return slot;
}

void ring_publish(struct ring *r, size_t n) {
    pthread_mutex_lock(&r->lock);
    r->length[r->head % SLOTS] = n;
    r->head++;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void ring_finish(struct ring *r) {
    pthread_mutex_lock(&r->lock);
    r->finished = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void ring_break(struct ring *r) {
    pthread_mutex_lock(&r->lock);
    r->broken = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

int ring_take(struct ring *r, const uint8_t **data, size_t *n) {
    pthread_mutex_lock(&r->lock);
    while (!r->broken && !r->finished && r->head == r->tail) pthread_cond_wait(&r->changed, &r->lock);
    int got = r->broken ? -1 : r->head != r->tail;
    if (got == 1) {
        *data = r->memory + (size_t)(r->tail % SLOTS) * SLOT_BYTES;
        *n = r->length[r->tail % SLOTS];
    }
    pthread_mutex_unlock(&r->lock);
    return got;
}

void ring_release(struct ring *r) {
    pthread_mutex_lock(&r->lock);
    r->tail++;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}
