// control: glibc
/*
 * 100,000 threads over the life of one process, most of them very short; some blocks outlive their
 * threads by far. What is resident reaches a plateau, and so does the address space.
 */
#include "check.h"

#define THREADS 100000
#define AT_ONCE 20
#define KEPT 512

static unsigned char *kept[KEPT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *live_briefly(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument;
    unsigned char *blocks[12];
    size_t sizes[COUNT(blocks)], i, place;
    unsigned char *left;
    for (i = 0; i < COUNT(blocks); i++) {
        sizes[i] = random_size(&state, i == 0 ? 40 * KIB : 800);
        blocks[i] = (unsigned char *)malloc(sizes[i]);
        CHECK(blocks[i] != NULL, "malloc(%zu)", sizes[i]);
        pattern_fill(blocks[i], sizes[i], i);
    }
    for (i = 1; i < COUNT(blocks); i++) {
        CHECK(pattern_holds(blocks[i], sizes[i], i), "%zu bytes", sizes[i]);
        free(blocks[i]);
    }
    /* The first stays for a while, in place of one that some long dead thread left. */
    CHECK(pattern_holds(blocks[0], sizes[0], 0), "%zu bytes", sizes[0]);
    place = next_random(&state) % KEPT;
    CHECK(pthread_mutex_lock(&lock) == 0, "lock");
    left = kept[place];
    kept[place] = blocks[0];
    CHECK(pthread_mutex_unlock(&lock) == 0, "unlock");
    free(left);
    return NULL;
}

int main(void)
{
    size_t round, i, resident = 0, mapped = 0;
    repeat_addresses();
    for (round = 0; round < THREADS / AT_ONCE; round++) {
        pthread_t threads[AT_ONCE];
        for (i = 0; i < AT_ONCE; i++)
            threads[i] = start_thread(live_briefly, (void *)(uintptr_t)(round * AT_ONCE + i + 1));
        for (i = 0; i < AT_ONCE; i++)
            join_thread(threads[i]);
        if (round == THREADS / AT_ONCE / 4) {
            resident = resident_kib();
            mapped = mapped_kib();
        }
    }
    CHECK(resident_kib() < resident + resident / 2 + 8 * KIB, "resident: %zu to %zu KiB", resident,
          resident_kib());
    /* glibc maps 64 MiB (128 while it aligns) for an arena, as late as two threads collide, and eight for a processor. */
    if (on_hakmem())
        CHECK(mapped_kib() < mapped + 512 * KIB, "mapped: %zu to %zu KiB", mapped, mapped_kib());
    for (i = 0; i < KEPT; i++)
        free(kept[i]);
    return 0;
}
