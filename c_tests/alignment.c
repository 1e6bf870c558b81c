// control: glibc
/* Alignments: every one from 1 to 1 GiB is kept, and an absurd one is refused as glibc does. */
#include "allocators.h"

#include <sys/mman.h>

/* With the smallest, and sizes around the alignment itself, where rounding goes wrong. */
static size_t sizes_for(size_t alignment, size_t *sizes)
{
    size_t count = 0;
    sizes[count++] = 1;
    sizes[count++] = 24;
    sizes[count++] = 1000;
    sizes[count++] = 70000;
    if (alignment > 1)
        sizes[count++] = alignment - 1;
    sizes[count++] = alignment;
    sizes[count++] = alignment + 1;
    if (alignment <= 64 * MIB)
        sizes[count++] = 3 * alignment + 5;
    return count;
}

/* Both ends: a block of 1 GiB is not worth filling. */
static void touch(void *block, size_t size)
{
    unsigned char *bytes = (unsigned char *)block;
    bytes[0] = 0xAA;
    bytes[size - 1] = 0x55;
    CHECK(size == 1 || bytes[0] == 0xAA, "the block does not hold what was written");
}

static void every_alignment_is_kept(void)
{
    size_t alignment, i, round;
    for (alignment = 1; alignment <= GIB; alignment *= 2) {
        size_t sizes[8];
        size_t count = sizes_for(alignment, sizes);
        for (i = 0; i < count; i++) {
            /* Several at once: the first of a page or region is aligned by luck. */
            void *blocks[3][4];
            size_t rounds = alignment <= 16 * MIB ? 4 : 2;
            for (round = 0; round < rounds; round++) {
                void *block = NULL;
                int error;
                errno = 7;
                block = memalign(opaque(alignment), sizes[i]);
                CHECK(block != NULL, "memalign(%zu, %zu)", alignment, sizes[i]);
                CHECK(is_aligned(block, alignment), "memalign(%zu, %zu) gave %p", alignment,
                      sizes[i], block);
                CHECK(is_aligned(block, 16) || sizes[i] < 16, "memalign gave %p", block);
                touch(block, sizes[i]);
                blocks[0][round] = block;

                block = aligned_alloc(opaque(alignment), sizes[i]);
                CHECK(block != NULL, "aligned_alloc(%zu, %zu)", alignment, sizes[i]);
                CHECK(is_aligned(block, alignment), "aligned_alloc(%zu, %zu) gave %p", alignment,
                      sizes[i], block);
                touch(block, sizes[i]);
                blocks[1][round] = block;

                block = NULL;
                error = posix_memalign(&block, opaque(alignment), sizes[i]);
                if (alignment < sizeof(void *)) {
                    CHECK(error == EINVAL, "posix_memalign(%zu) said %d", alignment, error);
                    CHECK(block == NULL, "posix_memalign wrote its result although it failed");
                } else {
                    CHECK(error == 0, "posix_memalign(%zu, %zu) said %d", alignment, sizes[i],
                          error);
                    CHECK(is_aligned(block, alignment), "posix_memalign(%zu, %zu) gave %p",
                          alignment, sizes[i], block);
                    touch(block, sizes[i]);
                }
                blocks[2][round] = block;
                CHECK(errno == 7, "errno changed by a success with alignment %zu", alignment);
            }
            for (round = 0; round < rounds; round++) {
                free(blocks[0][round]);
                free(blocks[1][round]);
                free(blocks[2][round]);
            }
        }
    }
}

static void absurd_alignments(void)
{
    static const size_t NOT_POWERS[] = {3, 5, 6, 7, 9, 12, 24, 48, 100, 4095, 4097, 65537};
    /* Above half the address space no power of two is left to round up to. */
    static const size_t TOO_LARGE[] = {SIZE_MAX / 2 + 2, SIZE_MAX - 1, SIZE_MAX};
    size_t i;
    void *block = &i;
    CHECK(posix_memalign(&block, opaque(0), 8) == EINVAL, "posix_memalign(0)");
    for (i = 0; i < COUNT(NOT_POWERS); i++) {
        size_t alignment = opaque(NOT_POWERS[i]);
        void *rounded;
        CHECK(posix_memalign(&block, alignment, 8) == EINVAL, "posix_memalign(%zu)", alignment);
        CHECK(posix_memalign(&block, alignment, 100000) == EINVAL, "posix_memalign(%zu)",
              alignment);
        /* glibc rounds the alignment of memalign up to a power of two. */
        rounded = memalign(alignment, 40);
        CHECK(rounded != NULL, "memalign(%zu)", alignment);
        while ((alignment & (alignment - 1)) != 0)
            alignment += alignment & ~(alignment - 1);
        CHECK(is_aligned(rounded, alignment), "memalign(%zu) gave %p", NOT_POWERS[i], rounded);
        free(rounded);
        /* So did its aligned_alloc until 2.38, which refuses such an alignment. */
        alignment = opaque(NOT_POWERS[i]);
        errno = 0;
        rounded = aligned_alloc(alignment, 40);
        CHECK(rounded != NULL || errno == EINVAL, "aligned_alloc(%zu)", alignment);
        free(rounded);
    }
    for (i = 0; i < COUNT(TOO_LARGE); i++) {
        size_t alignment = opaque(TOO_LARGE[i]);
        errno = 0;
        CHECK(memalign(alignment, 8) == NULL && errno == EINVAL, "memalign(%zu)", alignment);
        errno = 0;
        CHECK(aligned_alloc(alignment, 8) == NULL && errno == EINVAL, "aligned_alloc(%zu)",
              alignment);
        CHECK(posix_memalign(&block, alignment, 8) == EINVAL, "posix_memalign(%zu)", alignment);
    }
    /* A power of two, but no address space has room for it. */
    for (i = 47; i < 64; i++) {
        size_t alignment = opaque((size_t)1 << i);
        errno = 0;
        CHECK(memalign(alignment, 8) == NULL && errno == ENOMEM, "memalign(2^%zu)", i);
        CHECK(posix_memalign(&block, alignment, 8) == ENOMEM, "posix_memalign(2^%zu)", i);
    }
    CHECK(block == (void *)&i, "posix_memalign wrote its result although it failed");
}

static void whole_pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), i;
    static const size_t SIZES[] = {1, 100, 4095, 4096, 4097, 65536, 1 << 20, (1 << 20) + 1};
    for (i = 0; i < COUNT(SIZES); i++) {
        size_t whole = (SIZES[i] + page - 1) / page * page;
        void *one = valloc(SIZES[i]), *other = pvalloc(SIZES[i]);
        CHECK(one != NULL && is_aligned(one, page), "valloc(%zu) gave %p", SIZES[i], one);
        CHECK(other != NULL && is_aligned(other, page), "pvalloc(%zu) gave %p", SIZES[i], other);
        CHECK(malloc_usable_size(one) >= SIZES[i], "valloc(%zu)", SIZES[i]);
        CHECK(malloc_usable_size(other) >= whole, "pvalloc(%zu) has %zu bytes", SIZES[i],
              malloc_usable_size(other));
        memset(one, 1, SIZES[i]);
        memset(other, 2, whole);
        free(one);
        free(other);
    }
    {
        void *empty = pvalloc(opaque(0));
        CHECK(empty != NULL && is_aligned(empty, page), "pvalloc(0) gave %p", empty);
        free(empty);
    }
}

/* Whatever a function gives is aligned for every type. */
static void sixteen_everywhere(void)
{
    size_t size, i;
    for (size = 1; size < 5 * MIB; size += 1 + size / 16)
        for (i = 0; i < COUNT(ALLOCATORS); i++) {
            void *block = ALLOCATORS[i].allocate(size);
            CHECK(block != NULL, "%s of %zu", ALLOCATORS[i].name, size);
            CHECK(is_aligned(block, ALLOCATORS[i].alignment) && is_aligned(block, 16),
                  "%s of %zu gave %p", ALLOCATORS[i].name, size, block);
            free(block);
        }
}

/* An aligned block is cut from something larger: what is cut off must come back, too. */
static void nothing_is_left_behind(void)
{
    size_t before = 0, round;
    for (round = 0; round < 300; round++) {
        void *block = memalign(opaque(64 * MIB), 100), *large = memalign(GIB, 5 * MIB);
        CHECK(block != NULL && large != NULL, "memalign in round %zu", round);
        free(block);
        free(large);
        /* What stays mapped for reuse is decided in the first rounds. */
        if (round == 20)
            before = mapped_kib();
    }
    CHECK(mapped_kib() <= before + 256 * KIB, "the address space grew from %zu to %zu KiB", before,
          mapped_kib());
}

int main(void)
{
    repeat_addresses();
    every_alignment_is_kept();
    absurd_alignments();
    whole_pages();
    sixteen_everywhere();
    nothing_is_left_behind();
    return 0;
}
