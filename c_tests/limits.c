// control: glibc
/* Requests that cannot be served are NULL with ENOMEM, and harm nothing that lives. */
#include "allocators.h"

static const size_t IMPOSSIBLE[] = {
    (size_t)PTRDIFF_MAX + 1,
    (size_t)PTRDIFF_MAX + 2,
    (size_t)PTRDIFF_MAX + 4096,
    (size_t)PTRDIFF_MAX + ((size_t)1 << 40),
    SIZE_MAX - 65536,
    SIZE_MAX - 4097,
    SIZE_MAX - 4096,
    SIZE_MAX - 4095,
    SIZE_MAX - 64,
    SIZE_MAX - 16,
    SIZE_MAX - 15,
    SIZE_MAX - 1,
    SIZE_MAX,
    /* Legal sizes, but more than a process can map. */
    (size_t)PTRDIFF_MAX,
    (size_t)PTRDIFF_MAX - 1,
    (size_t)PTRDIFF_MAX - 4096,
    (size_t)1 << 62,
    (size_t)1 << 56,
    (size_t)1 << 48,
};

static void nobody_serves_them(void)
{
    size_t i, j;
    for (i = 0; i < COUNT(ALLOCATORS); i++)
        for (j = 0; j < COUNT(IMPOSSIBLE); j++) {
            void *block;
            errno = 0;
            block = ALLOCATORS[i].allocate(opaque(IMPOSSIBLE[j]));
            CHECK(block == NULL, "%s of %zu gave %p", ALLOCATORS[i].name, IMPOSSIBLE[j], block);
            CHECK(errno == ENOMEM, "%s of %zu", ALLOCATORS[i].name, IMPOSSIBLE[j]);
        }
}

static void a_failed_realloc_keeps_the_block(void)
{
    static const size_t SIZES[] = {1, 24, 500, 1024, 5000, 40000, 300000, 1 << 20, 5 << 20};
    size_t i, j;
    for (i = 0; i < COUNT(SIZES); i++) {
        size_t size = SIZES[i];
        unsigned char *block = (unsigned char *)malloc(size);
        uintptr_t before = (uintptr_t)block;
        CHECK(block != NULL, "malloc(%zu)", size);
        pattern_fill(block, size, i);
        for (j = 0; j < COUNT(IMPOSSIBLE); j++) {
            errno = 0;
            CHECK(realloc(block, opaque(IMPOSSIBLE[j])) == NULL, "realloc to %zu", IMPOSSIBLE[j]);
            CHECK(errno == ENOMEM, "realloc to %zu", IMPOSSIBLE[j]);
            errno = 0;
            CHECK(reallocarray(block, opaque(IMPOSSIBLE[j]), 1) == NULL, "reallocarray");
            CHECK(errno == ENOMEM, "reallocarray to %zu", IMPOSSIBLE[j]);
            errno = 0;
            CHECK(reallocarray(block, opaque((size_t)1 << 33), opaque((size_t)1 << 33)) == NULL,
                  "reallocarray whose product overflows");
            CHECK(errno == ENOMEM, "reallocarray whose product overflows");
        }
        CHECK((uintptr_t)block == before && pattern_holds(block, size, i),
              "%zu bytes changed under a failed realloc", size);
        free(block);
    }
}

static void products_that_overflow(void)
{
    static const struct {
        size_t count, size;
    } PRODUCTS[] = {
        {SIZE_MAX, 2},
        {2, SIZE_MAX},
        {SIZE_MAX, SIZE_MAX},
        {(size_t)1 << 32, (size_t)1 << 32},
        /* These wrap to 0, 16 and 24: small enough to be served by mistake. */
        {(size_t)1 << 63, 2},
        {((size_t)1 << 60) + 1, 16},
        {((size_t)1 << 61) + 3, 8},
        {SIZE_MAX / 2 + 1, 2},
        {SIZE_MAX / 3 + 1, 3},
        {SIZE_MAX / 16 + 2, 16},
        {16, SIZE_MAX / 16 + 2},
        /* No overflow, but above PTRDIFF_MAX. */
        {SIZE_MAX / 2 / 8 + 1, 8},
    };
    size_t i;
    for (i = 0; i < COUNT(PRODUCTS); i++) {
        size_t count = opaque(PRODUCTS[i].count), size = opaque(PRODUCTS[i].size);
        errno = 0;
        CHECK(calloc(count, size) == NULL, "calloc(%zu, %zu)", count, size);
        CHECK(errno == ENOMEM, "calloc(%zu, %zu)", count, size);
        errno = 0;
        CHECK(reallocarray(NULL, count, size) == NULL, "reallocarray(%zu, %zu)", count, size);
        CHECK(errno == ENOMEM, "reallocarray(%zu, %zu)", count, size);
    }
}

static void sizes_that_overflow_with_their_alignment(void)
{
    size_t alignment;
    for (alignment = 16; alignment <= GIB; alignment *= 2) {
        size_t near_end = (size_t)PTRDIFF_MAX - alignment + 2;
        void *block = &alignment;
        errno = 0;
        CHECK(memalign(alignment, opaque(near_end)) == NULL, "memalign(%zu)", alignment);
        CHECK(errno == ENOMEM, "memalign(%zu)", alignment);
        errno = 0;
        CHECK(aligned_alloc(alignment, opaque(SIZE_MAX - alignment + 1)) == NULL,
              "aligned_alloc(%zu)", alignment);
        CHECK(errno == ENOMEM, "aligned_alloc(%zu)", alignment);
        CHECK(posix_memalign(&block, alignment, opaque(near_end)) == ENOMEM,
              "posix_memalign(%zu)", alignment);
        CHECK(block == (void *)&alignment, "posix_memalign wrote its result although it failed");
    }
}

int main(void)
{
    void *block;
    nobody_serves_them();
    a_failed_realloc_keeps_the_block();
    products_that_overflow();
    sizes_that_overflow_with_their_alignment();
    /* And the heap still works. */
    block = launder(malloc(100));
    CHECK(block != NULL, "malloc after all these failures");
    free(block);
    return 0;
}
