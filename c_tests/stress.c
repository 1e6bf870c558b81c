// control: glibc
/*
 * Threads allocate, resize, exchange and free blocks of all sizes against a shadow model that knows
 * what each block must hold. An overlap, a lost byte or a wrong usable size shows as wrong content.
 * Arguments: how many thousand steps each thread makes (default 500), and a seed.
 */
#include "allocators.h"

#define THREADS 4
#define SLOTS 1500
#define SHARED 512
#define SHARED_LIMIT (256 * KIB)

struct block {
    unsigned char *bytes;
    size_t size;
    uint64_t seed;
};

/* Blocks change hands here: whoever swaps one out owns it, and usually did not allocate it. */
static struct {
    pthread_mutex_t lock;
    struct block block;
} shared[SHARED];

static size_t steps = 500000;
static uint64_t first_seed = 1;

static void verify(const struct block *block)
{
    CHECK(is_aligned(block->bytes, 16), "block %p", (void *)block->bytes);
    CHECK(malloc_usable_size(block->bytes) >= block->size, "block %p of %zu bytes has %zu",
          (void *)block->bytes, block->size, malloc_usable_size(block->bytes));
    CHECK(pattern_holds(block->bytes, block->size, block->seed), "block %p of %zu bytes",
          (void *)block->bytes, block->size);
}

static void release(struct block *block)
{
    if (block->bytes != NULL) {
        verify(block);
        free(block->bytes);
    }
    block->bytes = NULL;
}

/* Mostly small, as in real programs; now and then from any tier up to 4 MiB. */
static size_t some_size(uint64_t *state)
{
    uint64_t kind = next_random(state) % 1000;
    if (kind < 700)
        return 1 + next_random(state) % 512;
    if (kind < 990)
        return random_size(state, 32 * KIB);
    return random_size(state, 4 * MIB);
}

static void acquire(struct block *block, uint64_t *state, size_t limit)
{
    size_t which = next_random(state) % (4 * COUNT(ALLOCATORS));
    /* Three of four by malloc, the others by all functions alike. */
    const struct allocator *allocator = &ALLOCATORS[which < COUNT(ALLOCATORS) ? which : 0];
    block->size = some_size(state);
    if (block->size > limit)
        block->size = limit;
    block->seed = next_random(state);
    block->bytes = (unsigned char *)allocator->allocate(block->size);
    CHECK(block->bytes != NULL, "%s of %zu", allocator->name, block->size);
    CHECK(is_aligned(block->bytes, allocator->alignment), "%s gave %p", allocator->name,
          (void *)block->bytes);
    if (allocator->allocate == by_calloc || allocator->allocate == by_calloc_bytes)
        CHECK(all_zero(block->bytes, block->size), "calloc of %zu is not zero", block->size);
    pattern_fill(block->bytes, block->size, block->seed);
}

static void resize(struct block *block, uint64_t *state)
{
    size_t size = some_size(state), kept = size < block->size ? size : block->size;
    verify(block);
    block->bytes = (unsigned char *)realloc(block->bytes, size);
    CHECK(block->bytes != NULL, "realloc to %zu", size);
    CHECK(pattern_holds(block->bytes, kept, block->seed), "realloc from %zu to %zu", block->size,
          size);
    block->size = size;
    pattern_fill(block->bytes, size, block->seed);
}

static void exchange(struct block *block, uint64_t *state)
{
    size_t i = next_random(state) % SHARED;
    struct block taken;
    CHECK(pthread_mutex_lock(&shared[i].lock) == 0, "lock");
    taken = shared[i].block;
    shared[i].block = *block;
    CHECK(pthread_mutex_unlock(&shared[i].lock) == 0, "unlock");
    *block = taken;
}

static void *run(void *argument)
{
    uint64_t state = first_seed * 1000 + (uint64_t)(uintptr_t)argument;
    struct block *blocks = (struct block *)calloc(SLOTS, sizeof *blocks);
    size_t step, slot;
    CHECK(blocks != NULL, "calloc of the slots");
    for (step = 0; step < steps; step++) {
        uint64_t what = next_random(&state) % 100;
        struct block *block;
        slot = next_random(&state) % SLOTS;
        block = &blocks[slot];
        if (block->bytes == NULL)
            acquire(block, &state, SIZE_MAX);
        else if (what < 15)
            resize(block, &state);
        else if (what < 40 && block->size <= SHARED_LIMIT)
            exchange(block, &state);
        else
            release(block);
        /* The live heap breathes, so that memory goes back and comes again. */
        if (step % 20000 == 19999)
            for (slot = 0; slot < SLOTS; slot += 1 + slot % 2)
                release(&blocks[slot]);
    }
    for (slot = 0; slot < SLOTS; slot++)
        release(&blocks[slot]);
    free(blocks);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    size_t i, generation;
    if (argc > 1)
        steps = strtoul(argv[1], NULL, 10) * 1000;
    if (argc > 2)
        first_seed = strtoul(argv[2], NULL, 10);
    for (i = 0; i < SHARED; i++)
        CHECK(pthread_mutex_init(&shared[i].lock, NULL) == 0, "pthread_mutex_init");
    /* What the first generation leaves in the shared slots is freed after its death. */
    for (generation = 0; generation < 2; generation++) {
        for (i = 0; i < THREADS; i++)
            threads[i] = start_thread(run, (void *)(uintptr_t)(generation * THREADS + i));
        for (i = 0; i < THREADS; i++)
            join_thread(threads[i]);
    }
    for (i = 0; i < SHARED; i++)
        release(&shared[i].block);
    return 0;
}
