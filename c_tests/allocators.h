/* Every function that hands out a block of a given size, for properties that hold for all of them. */
#ifndef HAKMEM_ALLOCATORS_H
#define HAKMEM_ALLOCATORS_H

#include "check.h"

struct allocator {
    const char *name;
    void *(*allocate)(size_t size);
    /* What the block's address is at least a multiple of. */
    size_t alignment;
};

static inline void *by_malloc(size_t size)
{
    return malloc(size);
}

static inline void *by_calloc(size_t size)
{
    return calloc(1, size);
}

static inline void *by_calloc_bytes(size_t size)
{
    return calloc(size, 1);
}

static inline void *by_realloc(size_t size)
{
    return realloc(NULL, size);
}

static inline void *by_reallocarray(size_t size)
{
    return reallocarray(NULL, 1, size);
}

static inline void *by_posix_memalign(size_t size)
{
    void *block = NULL;
    int error = posix_memalign(&block, 64, size);
    /* The others report by errno; so that one table serves all, so does this wrapper. */
    if (error != 0) {
        errno = error;
        return NULL;
    }
    return block;
}

static inline void *by_aligned_alloc(size_t size)
{
    return aligned_alloc(256, size);
}

static inline void *by_memalign(size_t size)
{
    return memalign(32, size);
}

static inline void *by_memalign_large(size_t size)
{
    return memalign(64 * KIB, size);
}

static inline void *by_valloc(size_t size)
{
    return valloc(size);
}

static inline void *by_pvalloc(size_t size)
{
    return pvalloc(size);
}

static const struct allocator ALLOCATORS[] = {
    {"malloc", by_malloc, 16},
    {"calloc(1, n)", by_calloc, 16},
    {"calloc(n, 1)", by_calloc_bytes, 16},
    {"realloc(NULL, n)", by_realloc, 16},
    {"reallocarray(NULL, 1, n)", by_reallocarray, 16},
    {"posix_memalign(64, n)", by_posix_memalign, 64},
    {"aligned_alloc(256, n)", by_aligned_alloc, 256},
    {"memalign(32, n)", by_memalign, 32},
    {"memalign(64 KiB, n)", by_memalign_large, 64 * KIB},
    {"valloc", by_valloc, 4096},
    {"pvalloc", by_pvalloc, 4096},
};

/* Sizes at, just below and just above every border that an allocator is likely to have. */
static inline size_t border_sizes(size_t limit, size_t *sizes, size_t room)
{
    size_t count = 0, base, quarter, value;
    int offset;
    for (value = 1; value <= 16 && value <= limit && count < room; value++)
        sizes[count++] = value;
    for (base = 16; base <= limit; base *= 2)
        for (quarter = 0; quarter < 4; quarter++)
            for (offset = -1; offset <= 1; offset++) {
                value = base + base / 4 * quarter + (size_t)offset;
                if (value > 16 && value <= limit && count < room
                    && (count == 0 || sizes[count - 1] < value))
                    sizes[count++] = value;
            }
    return count;
}

#endif
