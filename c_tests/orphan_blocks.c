// control: glibc
/*
 * Blocks are used, resized and freed after the thread that allocated them has died, by threads that
 * come later; the memory of the dead serves the living, so what is resident reaches a plateau.
 */
#include "check.h"

#define OWNERS 8
#define BLOCKS 3000
#define ROUNDS 120

struct estate {
    unsigned char *blocks[BLOCKS];
    size_t sizes[BLOCKS];
    uint64_t seed;
};

static void *bequeath(void *argument)
{
    struct estate *estate = (struct estate *)argument;
    uint64_t state = estate->seed;
    size_t i;
    for (i = 0; i < BLOCKS; i++) {
        void *own = launder(malloc(next_random(&state) % 2000));
        estate->sizes[i] = random_size(&state, i % 500 == 0 ? 300 * KIB : 1500);
        estate->blocks[i] = (unsigned char *)malloc(estate->sizes[i]);
        CHECK(estate->blocks[i] != NULL && own != NULL, "malloc(%zu)", estate->sizes[i]);
        pattern_fill(estate->blocks[i], estate->sizes[i], i);
        free(own);
    }
    return NULL;
}

static void *inherit(void *argument)
{
    struct estate *estate = (struct estate *)argument;
    size_t i;
    for (i = 0; i < BLOCKS; i++) {
        unsigned char *block = estate->blocks[i];
        size_t size = estate->sizes[i];
        CHECK(pattern_holds(block, size, i), "a dead thread's block of %zu bytes", size);
        if (i % 5 == 0) {
            block = (unsigned char *)realloc(block, size * 2);
            CHECK(block != NULL && pattern_holds(block, size, i), "realloc of %zu bytes", size);
        }
        free(block);
    }
    return NULL;
}

int main(void)
{
    static struct estate estates[OWNERS];
    pthread_t threads[OWNERS];
    size_t round, i, plateau = 0;
    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < OWNERS; i++) {
            estates[i].seed = round * OWNERS + i;
            threads[i] = start_thread(bequeath, &estates[i]);
        }
        for (i = 0; i < OWNERS; i++)
            join_thread(threads[i]);
        /* Here no owner lives any more. The heirs are new threads, and the main thread. */
        for (i = 1; i < OWNERS; i++)
            threads[i] = start_thread(inherit, &estates[i]);
        inherit(&estates[0]);
        for (i = 1; i < OWNERS; i++)
            join_thread(threads[i]);
        if (round == ROUNDS / 3)
            plateau = resident_kib();
    }
    /* Each round allocates about 10 MiB: without reuse this would be 800 MiB more. */
    CHECK(resident_kib() < plateau + plateau / 4 + 16 * KIB, "resident grew from %zu to %zu KiB",
          plateau, resident_kib());
    return 0;
}
