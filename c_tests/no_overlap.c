// control: glibc
/* Among many live blocks of every size and function, no two share a byte of their usable size. */
#include "allocators.h"

#define THREADS 3

struct extent {
    uintptr_t start, end;
};

static struct extent *extents;
static size_t per_thread;

static int by_start(const void *one, const void *other)
{
    uintptr_t first = ((const struct extent *)one)->start;
    uintptr_t second = ((const struct extent *)other)->start;
    return (first > second) - (first < second);
}

static void *allocate(void *argument)
{
    size_t thread = (size_t)(uintptr_t)argument, i;
    uint64_t state = thread;
    for (i = 0; i < per_thread; i++) {
        const struct allocator *allocator = &ALLOCATORS[next_random(&state) % COUNT(ALLOCATORS)];
        /* The aligned ones take up to 64 KiB each; they are as many, but only the first ones. */
        size_t size = random_size(&state, i % 64 == 0 ? 512 * KIB : 4 * KIB);
        void *block, *given_back;
        if (i > per_thread / 8)
            allocator = &ALLOCATORS[i % 2];
        given_back = launder(allocator->allocate(size));
        block = allocator->allocate(size);
        CHECK(block != NULL && given_back != NULL, "%s of %zu", allocator->name, size);
        free(given_back);
        extents[thread * per_thread + i].start = (uintptr_t)block;
        extents[thread * per_thread + i].end = (uintptr_t)block + malloc_usable_size(block);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    size_t i, count;
    per_thread = 60000;
    count = THREADS * per_thread;
    extents = (struct extent *)malloc(count * sizeof *extents);
    CHECK(extents != NULL, "malloc for the extents");
    for (i = 0; i < THREADS; i++)
        threads[i] = start_thread(allocate, (void *)(uintptr_t)i);
    for (i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    qsort(extents, count, sizeof *extents, by_start);
    for (i = 1; i < count; i++)
        CHECK(extents[i - 1].end <= extents[i].start, "%zx-%zx and %zx-%zx overlap",
              (size_t)extents[i - 1].start, (size_t)extents[i - 1].end, (size_t)extents[i].start,
              (size_t)extents[i].end);
    for (i = 0; i < count; i++)
        free((void *)extents[i].start);
    free(extents);
    return 0;
}
