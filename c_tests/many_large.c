/*
 * 1,000,000 live large blocks of 64 KiB to 2 MiB, of which a few are touched: no table has a fixed
 * size that they fill, nor do they need one mapping each, of which Linux allows 65,530.
 */
#include "check.h"

#define BLOCKS ((size_t)1000000)
#define LIMIT (4 * MIB) /* in KiB */

static unsigned char **blocks;

static size_t size_of(size_t i)
{
    uint64_t state = i;
    /* Mostly the smaller ones, or they would fill the address space. */
    size_t size = 64 * KIB << (next_random(&state) % 6);
    if (size > 256 * KIB && next_random(&state) % 8 != 0)
        size = 64 * KIB;
    return size + next_random(&state) % (size / 2);
}

static int touched(size_t i)
{
    return i % 32 == 0;
}

static void take(size_t i)
{
    blocks[i] = (unsigned char *)launder(malloc(size_of(i)));
    CHECK(blocks[i] != NULL, "block %zu of %zu bytes", i, size_of(i));
    if (touched(i)) {
        pattern_fill(blocks[i], 64, i);
        blocks[i][size_of(i) - 1] = (unsigned char)i;
    }
}

static void give(size_t i)
{
    if (touched(i)) {
        CHECK(pattern_holds(blocks[i], 64, i), "block %zu", i);
        CHECK(blocks[i][size_of(i) - 1] == (unsigned char)i, "the end of block %zu", i);
    }
    free(blocks[i]);
}

int main(void)
{
    size_t i, round;
    uint64_t state = 1;
    blocks = (unsigned char **)malloc(BLOCKS * sizeof *blocks);
    CHECK(blocks != NULL, "malloc for the pointers");
    for (i = 0; i < BLOCKS; i++) {
        take(i);
        /* Long before a machine of average size runs out of memory. */
        if (i % 4096 == 0)
            CHECK(resident_kib() < LIMIT, "%zu KiB resident at block %zu", resident_kib(), i);
    }
    /* A fifth is replaced at random, as in a program that lives. */
    for (round = 0; round < BLOCKS / 5; round++) {
        i = next_random(&state) % BLOCKS;
        give(i);
        take(i);
    }
    CHECK(resident_kib() < LIMIT, "%zu KiB resident", resident_kib());
    for (i = 0; i < BLOCKS; i += 2)
        give(i);
    for (i = 1; i < BLOCKS; i += 2)
        give(i);
    free(blocks);
    CHECK(resident_kib() < 256 * KIB, "%zu KiB resident after all were freed", resident_kib());
    return 0;
}
