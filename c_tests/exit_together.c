// control: glibc
/*
 * 64 threads exit in the same moment, again and again, each just after it has freed blocks of a
 * neighbour that is exiting, too, and others that the dead of the last round have left. Every block
 * is what it was, and what is resident reaches a plateau: no free is lost between two owners.
 */
#include "check.h"

#define THREADS 64
#define BLOCKS 40
#define ROUNDS 150

static unsigned char *blocks[2][THREADS][BLOCKS];
static pthread_barrier_t filled;
static size_t current;

static size_t size_of(size_t thread, size_t i)
{
    static const size_t SIZES[] = {16, 48, 200, 1000, 4000, 20000, 30, 300, 70000, 500};
    return SIZES[i % COUNT(SIZES)] + (thread % 4) * 16;
}

static void check_and_free(size_t round, size_t thread, size_t i)
{
    unsigned char *block = blocks[round][thread][i];
    size_t size = size_of(thread, i) < 300 ? size_of(thread, i) : 300;
    blocks[round][thread][i] = NULL;
    CHECK(block == NULL || pattern_holds(block, size, thread * BLOCKS + i),
          "block %zu of thread %zu", i, thread);
    free(block);
}

static void *live(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument, i;
    for (i = 0; i < BLOCKS; i++) {
        size_t size = size_of(self, i);
        blocks[current][self][i] = (unsigned char *)malloc(size);
        CHECK(blocks[current][self][i] != NULL, "malloc(%zu)", size);
        pattern_fill(blocks[current][self][i], size < 300 ? size : 300, self * BLOCKS + i);
    }
    pthread_barrier_wait(&filled);
    for (i = 0; i < BLOCKS; i += 2)
        check_and_free(current, (self + 1) % THREADS, i);
    for (i = 1; i < BLOCKS; i += 2)
        check_and_free(1 - current, (self + 7) % THREADS, i);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    size_t round, i, plateau = 0, rounds = test_rounds(ROUNDS);
    pthread_barrier_init(&filled, NULL, THREADS);
    for (round = 0; round < rounds; round++) {
        current = round % 2;
        for (i = 0; i < THREADS; i++)
            threads[i] = start_thread(live, (void *)(uintptr_t)i);
        for (i = 0; i < THREADS; i++)
            join_thread(threads[i]);
        if (round == rounds / 3)
            plateau = resident_kib();
    }
    /* A round that lost its blocks would lose 6 MiB. */
    CHECK(resident_kib() < plateau + plateau / 4 + 16 * KIB, "resident grew from %zu to %zu KiB",
          plateau, resident_kib());
    for (i = 0; i < THREADS * BLOCKS; i++)
        check_and_free(current, i / BLOCKS, i % BLOCKS);
    return 0;
}
