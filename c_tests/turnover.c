// control: glibc
/*
 * Never more than 32 MiB live, but of one kind of blocks after the other, so that memory has to go from
 * one tier to the next: tests/memory_cgroup.rs runs this where little more than that may be used.
 */
#include "check.h"

#define LIVE (32 * MIB)

struct block {
    unsigned char *start;
    size_t size;
};

static struct block blocks[1 << 19];
static size_t count, live;

static void take(uint64_t *random, size_t least, size_t most)
{
    struct block *block = &blocks[count++];
    block->size = least + next_random(random) % (most - least + 1);
    block->start = (unsigned char *)malloc(block->size);
    CHECK(block->start != NULL, "malloc(%zu)", block->size);
    /* All of it: what is not touched does not count. */
    memset(block->start, (int)block->size, block->size);
    live += block->size;
}

static void drop(size_t index)
{
    struct block *block = &blocks[index];
    CHECK(block->start[0] == (unsigned char)block->size
              && block->start[block->size - 1] == (unsigned char)block->size,
          "%zu bytes have changed", block->size);
    live -= block->size;
    free(block->start);
    *block = blocks[--count];
}

/* Fills all there may be with blocks of such sizes, and then replaces them at random. */
static void turn_over(size_t least, size_t most, size_t replaced)
{
    uint64_t random = least;
    while (live + most <= LIVE && count < COUNT(blocks))
        take(&random, least, most);
    for (; replaced > 0; replaced--) {
        drop(next_random(&random) % count);
        while (live + most <= LIVE && count < COUNT(blocks))
            take(&random, least, most);
    }
    /* A few stay, spread over all of it. */
    while (count > 40)
        drop(next_random(&random) % count);
}

static void drop_all(void)
{
    while (count > 0)
        drop(count - 1);
}

/* Different places in the program take turns with buffers of their own. */
static void take_turns(void)
{
    size_t turn;
    for (turn = 0; turn < 12; turn++) {
        void *one = NULL, *two = NULL, *three = NULL;
        one = malloc(20 * MIB);
        CHECK(one != NULL, "20 MiB");
        memset(launder(one), 1, 20 * MIB);
        free(one);
        two = malloc(25 * MIB);
        CHECK(two != NULL, "25 MiB");
        memset(launder(two), 2, 25 * MIB);
        free(two);
        three = malloc(31 * MIB);
        CHECK(three != NULL, "31 MiB");
        memset(launder(three), 3, 31 * MIB);
        free(three);
    }
}

static void grow(void)
{
    size_t size;
    unsigned char *buffer = NULL;
    for (size = 1000; size < LIVE; size += size / 3) {
        buffer = (unsigned char *)realloc(buffer, size);
        CHECK(buffer != NULL, "realloc to %zu", size);
        memset(buffer + size / 4 * 3, 5, size - size / 4 * 3);
    }
    free(buffer);
}

static void *in_a_thread(void *unused)
{
    turn_over(100, 2000, 5000);
    return unused;
}

int main(void)
{
    size_t i;
    turn_over(64, 512, 200000);
    turn_over(700, 3000, 20000);
    turn_over(4000, 40000, 3000);
    drop_all();
    turn_over(100000, 900000, 500);
    drop_all();
    turn_over(300, 20000, 5000);
    drop_all();
    take_turns();
    grow();
    for (i = 0; i < 4; i++) {
        join_thread(start_thread(in_a_thread, NULL));
        if (i % 2 != 0)
            drop_all();
    }
    drop_all();
    return 0;
}
