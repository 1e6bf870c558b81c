// control: glibc
/* realloc keeps what a block holds, over all class borders up and down, from 1 byte to 64 MiB. */
#include "allocators.h"

static unsigned char *resize(unsigned char *block, size_t from, size_t to, uint64_t seed)
{
    size_t kept = from < to ? from : to;
    unsigned char *moved = (unsigned char *)realloc(block, to);
    CHECK(moved != NULL, "realloc from %zu to %zu", from, to);
    CHECK(is_aligned(moved, 16), "realloc from %zu to %zu gave %p", from, to, (void *)moved);
    CHECK(malloc_usable_size(moved) >= to, "realloc to %zu has %zu bytes", to,
          malloc_usable_size(moved));
    CHECK(pattern_holds(moved, kept, seed), "realloc from %zu to %zu lost content", from, to);
    return moved;
}

/* The last bytes matter most, and filling 64 MiB at each step would take the time of all tests. */
static void stepwise(const size_t *sizes, size_t count, size_t neighbours)
{
    unsigned char *block = (unsigned char *)malloc(sizes[0]);
    void *between[512] = {NULL};
    size_t i;
    CHECK(block != NULL, "malloc(%zu)", sizes[0]);
    pattern_fill(block, sizes[0], 1);
    for (i = 1; i < count; i++) {
        /* A neighbour behind the block keeps it from growing in place. */
        if (neighbours && i < COUNT(between))
            between[i] = malloc(sizes[i]);
        block = resize(block, sizes[i - 1], sizes[i], i);
        pattern_fill(block, sizes[i], i + 1);
    }
    for (i = count - 1; i > 0; i--) {
        block = resize(block, sizes[i], sizes[i - 1], i + 1);
        pattern_fill(block, sizes[i - 1], i);
    }
    free(block);
    for (i = 0; i < COUNT(between); i++)
        free(between[i]);
}

static void jumps(const size_t *sizes, size_t count)
{
    uint64_t state = 99;
    size_t round, size = 1;
    unsigned char *block = (unsigned char *)malloc(1);
    CHECK(block != NULL, "malloc(1)");
    pattern_fill(block, 1, 0);
    for (round = 1; round < 400; round++) {
        size_t next = sizes[next_random(&state) % count];
        block = resize(block, size, next, round - 1);
        pattern_fill(block, next, round);
        size = next;
    }
    free(block);
}

/* How vectors and string builders grow. */
static void by_half(void)
{
    size_t round;
    for (round = 0; round < 8; round++) {
        size_t size = 16, next;
        unsigned char *block = (unsigned char *)malloc(size);
        CHECK(block != NULL, "malloc(16)");
        pattern_fill(block, size, round);
        while (size < 64 * MIB) {
            next = size + size / 2;
            block = resize(block, size, next, round);
            pattern_fill(block, next, round);
            size = next;
        }
        free(block);
    }
}

/* realloc promises nothing about alignment, but everything about content, and loses nothing. */
static void aligned_blocks(void)
{
    static const size_t ALIGNMENTS[] = {32, 512, 4096, 65536, 2 << 20};
    static const size_t SIZES[] = {1, 100, 5000, 70000, 600000, 5 << 20};
    size_t i, j, k;
    for (i = 0; i < COUNT(ALIGNMENTS); i++)
        for (j = 0; j < COUNT(SIZES); j++)
            for (k = 0; k < COUNT(SIZES); k++) {
                unsigned char *block = (unsigned char *)memalign(ALIGNMENTS[i], SIZES[j]);
                CHECK(block != NULL, "memalign(%zu, %zu)", ALIGNMENTS[i], SIZES[j]);
                pattern_fill(block, SIZES[j], k);
                free(resize(block, SIZES[j], SIZES[k], k));
            }
}

static void *elsewhere(void *argument)
{
    return resize((unsigned char *)argument, 3000, 300000, 5);
}

int main(void)
{
    size_t small[400], all[400];
    size_t small_count = border_sizes(MIB, small, COUNT(small));
    size_t count = border_sizes(64 * MIB, all, COUNT(all));
    unsigned char *block;

    stepwise(small, small_count, 0);
    stepwise(small, small_count, 1);
    stepwise(all, count, 0);
    jumps(all, count);
    jumps(small, small_count);
    by_half();
    aligned_blocks();

    /* A block may be resized by a thread that does not own it. */
    block = (unsigned char *)malloc(3000);
    CHECK(block != NULL, "malloc(3000)");
    pattern_fill(block, 3000, 5);
    block = (unsigned char *)join_thread(start_thread(elsewhere, block));
    CHECK(pattern_holds(block, 3000, 5), "content lost on the way back");
    free(block);
    return 0;
}
