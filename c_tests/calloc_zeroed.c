// control: glibc
/* calloc gives zeros although the same memory was used and dirty before, in every size tier. */
#include "allocators.h"

#define THREADS 3

static void dirty(unsigned char **blocks, size_t count, size_t size)
{
    size_t i;
    for (i = 0; i < count; i++) {
        blocks[i] = (unsigned char *)malloc(size);
        CHECK(blocks[i] != NULL, "malloc(%zu)", size);
        memset(blocks[i], 0xA5, malloc_usable_size(blocks[i]));
    }
    for (i = 0; i < count; i++)
        free(launder(blocks[i]));
}

static void check_size(size_t size, size_t elements, unsigned char **blocks, size_t room)
{
    /* Enough blocks to leave the thread's cache and to reach the slab, run or mapping behind it. */
    size_t count = 4 * MIB / size + 2, i;
    if (count > room)
        count = room;
    dirty(blocks, count, size);
    for (i = 0; i < count; i++) {
        blocks[i] = (unsigned char *)calloc(elements, size / elements);
        CHECK(blocks[i] != NULL, "calloc(%zu, %zu)", elements, size / elements);
        CHECK(all_zero(blocks[i], size / elements * elements), "block %zu of calloc(%zu, %zu)", i,
              elements, size / elements);
        memset(blocks[i], 0x5A, size / elements * elements);
    }
    for (i = 0; i < count; i++)
        free(blocks[i]);
}

static void *all_tiers(void *argument)
{
    size_t sizes[400], i;
    size_t count = border_sizes(argument == NULL ? 64 * MIB : 2 * MIB, sizes, COUNT(sizes));
    size_t room = 20000;
    unsigned char **blocks = (unsigned char **)malloc(room * sizeof *blocks);
    CHECK(blocks != NULL, "malloc for %zu pointers", room);
    for (i = 0; i < count; i++) {
        check_size(sizes[i], 1, blocks, room);
        if (sizes[i] % 2 == 0)
            check_size(sizes[i], 2, blocks, room);
        if (sizes[i] > 16 && sizes[i] < 100000)
            check_size(sizes[i], sizes[i] / 3, blocks, room);
    }
    free(blocks);
    return NULL;
}

/* Memory whose pages went back to the OS comes again as zeros, unless only some of them did. */
static void after_trim(void)
{
    static unsigned char *blocks[4096];
    static const size_t SIZES[] = {64, 1000, 5000, 20000, 100000, 1 << 20};
    size_t i, j;
    for (i = 0; i < COUNT(SIZES); i++) {
        size_t count = COUNT(blocks);
        if (count * SIZES[i] > 64 * MIB)
            count = 64 * MIB / SIZES[i];
        dirty(blocks, count, SIZES[i]);
        malloc_trim(0);
        for (j = 0; j < count; j++) {
            blocks[j] = (unsigned char *)calloc(1, SIZES[i]);
            CHECK(blocks[j] != NULL && all_zero(blocks[j], SIZES[i]), "calloc(1, %zu) after trim",
                  SIZES[i]);
            memset(blocks[j], 0xFF, SIZES[i]);
        }
        /* Every second: a page now holds freed and living blocks. */
        for (j = 0; j < count; j += 2)
            free(blocks[j]);
        malloc_trim(0);
        for (j = 0; j < count; j += 2) {
            blocks[j] = (unsigned char *)calloc(SIZES[i], 1);
            CHECK(blocks[j] != NULL && all_zero(blocks[j], SIZES[i]), "calloc(%zu, 1) in a gap",
                  SIZES[i]);
        }
        for (j = 0; j < count; j++)
            free(blocks[j]);
    }
}

/* What realloc gives up or moves away from is dirty, too. */
static void after_realloc(void)
{
    size_t size;
    for (size = 64; size <= 16 * MIB; size *= 2) {
        unsigned char *block = (unsigned char *)malloc(size), *zeros;
        CHECK(block != NULL, "malloc(%zu)", size);
        memset(block, 0x77, size);
        block = (unsigned char *)realloc(block, size / 4);
        CHECK(block != NULL, "realloc to %zu", size / 4);
        zeros = (unsigned char *)calloc(1, size / 2);
        CHECK(zeros != NULL && all_zero(zeros, size / 2), "calloc(1, %zu) beside a shrunk block",
              size / 2);
        block = (unsigned char *)realloc(block, size * 3);
        CHECK(block != NULL, "realloc to %zu", size * 3);
        free(zeros);
        zeros = (unsigned char *)calloc(1, size);
        CHECK(zeros != NULL && all_zero(zeros, size), "calloc(1, %zu) beside a grown block", size);
        free(zeros);
        free(block);
    }
}

int main(void)
{
    pthread_t threads[THREADS];
    size_t i;
    all_tiers(NULL);
    for (i = 0; i < THREADS; i++)
        threads[i] = start_thread(all_tiers, &threads[i]);
    for (i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    after_trim();
    after_realloc();
    return 0;
}
