// control: glibc
/* Zero sizes and NULL, as glibc treats them. */
#include "allocators.h"

static void zero_bytes_are_a_block(void)
{
    size_t i, j;
    for (i = 0; i < COUNT(ALLOCATORS); i++) {
        void *blocks[64];
        for (j = 0; j < COUNT(blocks); j++) {
            size_t other;
            errno = 5;
            blocks[j] = ALLOCATORS[i].allocate(opaque(0));
            CHECK(blocks[j] != NULL, "%s of 0", ALLOCATORS[i].name);
            CHECK(errno == 5, "%s of 0 changed errno", ALLOCATORS[i].name);
            CHECK(is_aligned(blocks[j], ALLOCATORS[i].alignment), "%s of 0 gave %p",
                  ALLOCATORS[i].name, blocks[j]);
            for (other = 0; other < j; other++)
                CHECK(blocks[other] != blocks[j], "%s of 0 gave one block twice",
                      ALLOCATORS[i].name);
        }
        for (j = 0; j < COUNT(blocks); j++)
            free(blocks[j]);
    }
}

static void calloc_of_nothing(void)
{
    static const struct {
        size_t count, size;
    } NOTHING[] = {{0, 0}, {0, 8}, {8, 0}, {0, SIZE_MAX}, {SIZE_MAX, 0}};
    size_t i;
    for (i = 0; i < COUNT(NOTHING); i++) {
        void *block = launder(calloc(opaque(NOTHING[i].count), opaque(NOTHING[i].size)));
        CHECK(block != NULL, "calloc(%zu, %zu)", NOTHING[i].count, NOTHING[i].size);
        free(block);
        block = launder(reallocarray(NULL, opaque(NOTHING[i].count), opaque(NOTHING[i].size)));
        CHECK(block != NULL, "reallocarray(NULL, %zu, %zu)", NOTHING[i].count, NOTHING[i].size);
        free(block);
    }
}

/* glibc's realloc(p, 0) is free(p) and NULL; a program that checks for failure relies on errno. */
static void realloc_to_nothing_frees(void)
{
    static const size_t SIZES[] = {0, 1, 100, 3000, 50000, 200000, 3 << 20, 100 << 20};
    size_t i, round, resident = 0;
    for (i = 0; i < COUNT(SIZES); i++) {
        void *block = malloc(opaque(SIZES[i]));
        CHECK(block != NULL, "malloc(%zu)", SIZES[i]);
        errno = 5;
        CHECK(realloc(block, opaque(0)) == NULL, "realloc of %zu bytes to 0", SIZES[i]);
        block = malloc(opaque(SIZES[i]));
        CHECK(block != NULL, "malloc(%zu)", SIZES[i]);
        CHECK(reallocarray(block, 0, 8) == NULL, "reallocarray to 0 x 8");
        block = malloc(opaque(SIZES[i]));
        CHECK(block != NULL, "malloc(%zu)", SIZES[i]);
        CHECK(reallocarray(block, 8, opaque(0)) == NULL, "reallocarray to 8 x 0");
        CHECK(errno == 5, "realloc to nothing changed errno");
    }
    /* It would lose 400 MiB here if it did not free. */
    for (round = 0; round < 4000; round++) {
        char *block = (char *)malloc(100000);
        CHECK(block != NULL, "malloc in round %zu", round);
        memset(block, 1, 100000);
        CHECK(realloc(block, opaque(0)) == NULL, "realloc to 0");
        if (round == 100)
            resident = resident_kib();
    }
    CHECK(resident_kib() < resident + 64 * KIB, "realloc to 0 freed nothing: %zu to %zu KiB",
          resident, resident_kib());
}

int main(void)
{
    void *block;
    zero_bytes_are_a_block();
    calloc_of_nothing();
    realloc_to_nothing_frees();

    free(NULL);
    CHECK(malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL) is %zu",
          malloc_usable_size(NULL));
    block = launder(realloc(NULL, opaque(77)));
    CHECK(block != NULL, "realloc(NULL, 77)");
    free(block);
    block = launder(realloc(NULL, opaque(0)));
    CHECK(block != NULL, "realloc(NULL, 0) is malloc(0)");
    free(block);
    return 0;
}
