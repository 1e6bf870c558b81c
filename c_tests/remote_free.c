// control: glibc
/*
 * Frees from other threads, in the orders and amounts that a cache of foreign blocks has borders
 * for: in order, backwards, at random, one by one and all at once, from several threads into one
 * slab at the same time, while its owner goes on allocating.
 */
#include "check.h"

#define HELPERS 3

static const size_t SIZES[] = {1, 16, 48, 64, 256, 1000, 1024, 1040, 3000, 9000, 40000, 200000,
                               1 << 20};

struct share {
    unsigned char **blocks;
    size_t count, size, stride, first;
    int order;
};

static void *free_share(void *argument)
{
    struct share *share = (struct share *)argument;
    size_t i;
    for (i = share->first; i < share->count; i += share->stride) {
        size_t j = share->order == 1 ? share->count - 1 - i : i;
        CHECK(pattern_holds(share->blocks[j], share->size, j), "block %zu of %zu bytes", j,
              share->size);
        free(share->blocks[j]);
    }
    return NULL;
}

static void shuffle(unsigned char **blocks, size_t count, uint64_t *state)
{
    /* The pattern's seed is the place, so it is filled after this. */
    size_t i;
    for (i = count - 1; i > 0; i--) {
        size_t j = next_random(state) % (i + 1);
        unsigned char *other = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = other;
    }
}

static void one_size(size_t size)
{
    size_t count = 3 * MIB / (size + 16) + 3, i, helper;
    unsigned char **blocks;
    uint64_t state = size;
    int order;
    if (count > 6000)
        count = 6000;
    blocks = (unsigned char **)malloc(count * sizeof *blocks);
    CHECK(blocks != NULL, "malloc for the pointers");
    for (order = 0; order < 3; order++) {
        pthread_t threads[HELPERS];
        struct share shares[HELPERS];
        for (i = 0; i < count; i++)
            CHECK((blocks[i] = (unsigned char *)malloc(size)) != NULL, "malloc(%zu)", size);
        if (order == 2)
            shuffle(blocks, count, &state);
        for (i = 0; i < count; i++)
            pattern_fill(blocks[i], size, i);
        for (helper = 0; helper < HELPERS; helper++) {
            struct share share = {blocks, count, size, HELPERS, helper, order};
            shares[helper] = share;
            threads[helper] = start_thread(free_share, &shares[helper]);
        }
        /* Meanwhile the owner takes and gives blocks of the same slabs. */
        for (i = 0; i < 3000; i++) {
            unsigned char *mine = (unsigned char *)malloc(size);
            CHECK(mine != NULL, "malloc(%zu)", size);
            pattern_fill(mine, size < 64 ? size : 64, i);
            CHECK(pattern_holds(mine, size < 64 ? size : 64, i), "a block of %zu bytes", size);
            free(mine);
        }
        for (helper = 0; helper < HELPERS; helper++)
            join_thread(threads[helper]);
    }
    free(blocks);
}

int main(void)
{
    size_t i, round, before = 0;
    for (round = 0; round < 6; round++) {
        for (i = 0; i < COUNT(SIZES); i++)
            one_size(SIZES[i]);
        if (round == 1)
            before = resident_kib();
    }
    CHECK(resident_kib() < before + 16 * KIB, "resident memory grew from %zu to %zu KiB", before,
          resident_kib());
    return 0;
}
