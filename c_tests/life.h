/*
 * One life through all tiers - slabs, holes in them, page runs, mappings that grow and shrink, aligned
 * blocks, threads that come and go, trims - that can be led where memory is refused: then NULL with
 * ENOMEM is an answer, if `may_fail` is set, but whatever lives keeps its content.
 */
#ifndef HAKMEM_LIFE_H
#define HAKMEM_LIFE_H

#include "check.h"

#define MARK 4321
#define EDGE ((size_t)8192)

struct block {
    unsigned char *start;
    size_t size;
    uint64_t seed;
};

static struct block blocks[6000];
static size_t count, refused;
static int may_fail;

/* Large blocks are written at both ends only: a run of this program should be short. */
static size_t head(size_t size)
{
    return size <= 2 * EDGE ? size : EDGE;
}

static void fill(const struct block *block)
{
    pattern_fill(block->start, head(block->size), block->seed);
    if (block->size > 2 * EDGE)
        pattern_fill(block->start + block->size - EDGE, EDGE, ~block->seed);
}

static void verify(const struct block *block)
{
    CHECK(pattern_holds(block->start, head(block->size), block->seed),
          "%zu bytes at %p have changed", block->size, (void *)block->start);
    CHECK(block->size <= 2 * EDGE
              || pattern_holds(block->start + block->size - EDGE, EDGE, ~block->seed),
          "the end of %zu bytes at %p has changed", block->size, (void *)block->start);
}

/* Whether a call that returned `block` succeeded; errno was MARK before it. */
static int succeeded(const void *block, const char *what, size_t size)
{
    int error = errno;
    if (block != NULL) {
        /* glibc sets errno where it fails to get memory in one way, and then gets it in another. */
        CHECK(error == MARK || !on_hakmem(), "%s of %zu succeeded with errno %d", what, size, error);
        return 1;
    }
    CHECK(may_fail, "%s of %zu failed with errno %d", what, size, error);
    CHECK(error == ENOMEM, "%s of %zu failed with errno %d", what, size, error);
    __atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
    return 0;
}

static void keep(void *start, size_t size)
{
    struct block *block = &blocks[count];
    CHECK(count < COUNT(blocks), "more blocks than there is room for");
    block->start = (unsigned char *)start;
    block->size = size;
    block->seed = 1000 * count + size;
    fill(block);
    count++;
}

static void take(size_t size)
{
    void *start;
    errno = MARK;
    start = launder(malloc(size));
    if (succeeded(start, "malloc", size))
        keep(start, size);
}

static void take_zeroed(size_t size)
{
    void *start;
    errno = MARK;
    start = launder(calloc(1, size));
    if (succeeded(start, "calloc", size)) {
        CHECK(all_zero(start, size), "calloc of %zu is not zero", size);
        keep(start, size);
    }
}

static void take_aligned(size_t alignment, size_t size)
{
    void *start;
    errno = MARK;
    start = launder(memalign(alignment, size));
    if (succeeded(start, "memalign", size)) {
        CHECK(is_aligned(start, alignment), "memalign(%zu, %zu) gave %p", alignment, size, start);
        keep(start, size);
    }
}

static void resize(struct block *block, size_t size)
{
    unsigned char *start;
    size_t same = head(block->size) < size ? head(block->size) : size;
    verify(block);
    errno = MARK;
    start = (unsigned char *)launder(realloc(block->start, size));
    /* A guarded block always moves, so that who goes on using the old one is found out. */
    if (size <= block->size && on_hakmem() && getenv("HAKMEM_GUARD") == NULL)
        CHECK(start != NULL, "realloc of %zu bytes to %zu must not need memory", block->size, size);
    if (!succeeded(start, "realloc", size)) {
        verify(block);
        return;
    }
    CHECK(pattern_holds(start, same, block->seed), "realloc of %zu to %zu lost the content",
          block->size, size);
    block->start = start;
    block->size = size;
    fill(block);
}

static void drop(size_t index)
{
    struct block *block = &blocks[index];
    verify(block);
    errno = MARK;
    free(block->start);
    CHECK(errno == MARK, "free of %zu bytes set errno", block->size);
    *block = blocks[--count];
}

/* Of the blocks from `first` on, every `nth` stays. */
static void thin_out(size_t first, size_t nth)
{
    size_t index;
    for (index = count; index-- > first;)
        if (index % nth != 0)
            drop(index);
}

static void small_blocks(void)
{
    static const size_t SIZES[] = {16, 200, 1024, 3000, 9000, 30000};
    size_t first = count, i, taken;
    for (i = 0; i < COUNT(SIZES); i++) {
        for (taken = 0; taken < MIB && taken < 600 * SIZES[i]; taken += SIZES[i])
            take(SIZES[i]);
        take_zeroed(SIZES[i]);
    }
    /* So few stay that whole pages inside the slabs are free. */
    thin_out(first, 16);
    for (i = 0; i < COUNT(SIZES); i++)
        take_zeroed(SIZES[i]);
}

static void runs(void)
{
    static const size_t SIZES[] = {40000, 70000, 150000, 400000, 900000};
    size_t first = count, i, round;
    for (round = 0; round < 3; round++)
        for (i = 0; i < COUNT(SIZES); i++) {
            take(SIZES[i]);
            take_zeroed(SIZES[i]);
        }
    for (i = first; i < count; i += 3)
        resize(&blocks[i], blocks[i].size + blocks[i].size / 2);
    for (i = first + 1; i < count; i += 3)
        resize(&blocks[i], blocks[i].size / 3);
    thin_out(first, 4);
    take_zeroed(500000);
    /* From a slab through all sizes of runs into a mapping of its own. */
    first = count;
    take(6000);
    for (i = 0; i < 14 && count > first; i++)
        resize(&blocks[first], blocks[first].size + blocks[first].size / 2);
}

static void mappings(void)
{
    size_t first = count, i;
    take(3 * MIB / 2);
    take(5 * MIB / 2);
    take_zeroed(5 * MIB / 2);
    take(5 * MIB);
    take(17 * MIB);
    for (i = first; i < count; i++)
        resize(&blocks[i], blocks[i].size * 2);
    for (i = first; i < count; i++)
        resize(&blocks[i], blocks[i].size * 3);
    for (i = first; i < count; i++)
        resize(&blocks[i], blocks[i].size / 5 * 2);
    if (count > first)
        resize(&blocks[first], 50000);
    if (count > first)
        resize(&blocks[first], 100);
    thin_out(first, 2);
    /* One site that takes the same again and again, and touches all of it. */
    for (i = 0; i < 6; i++) {
        first = count;
        take(5 * MIB / 2);
        if (count > first) {
            memset(blocks[first].start, 7, blocks[first].size);
            fill(&blocks[first]);
            drop(first);
        }
    }
    take_zeroed(5 * MIB / 2);
}

static void aligned_blocks(void)
{
    size_t first = count;
    take_aligned(4096, 5000);
    take_aligned(64 * KIB, 100);
    take_aligned(64 * KIB, 200000);
    take_aligned(MIB, 40000);
    take_aligned(2 * MIB, 3 * MIB);
    take_aligned(8 * MIB, 100);
    thin_out(first, 2);
}

/* What one thread hands to another that has nothing to do with it but to free it. */
static void *handed[64];

static void *sender(void *unused)
{
    size_t i;
    for (i = 0; i < COUNT(handed); i++) {
        size_t size = i % 8 == 7 ? 60000 : 24 + i % 8 * 700;
        errno = MARK;
        handed[i] = launder(malloc(size));
        if (succeeded(handed[i], "malloc", size))
            memset(handed[i], (int)i, 24);
        /* A part of its slabs is its own to empty. */
        errno = MARK;
        free(launder(malloc(size)));
    }
    return unused;
}

static void *receiver(void *unused)
{
    size_t i;
    for (i = 0; i < COUNT(handed); i += 2) {
        CHECK(handed[i] == NULL || *(unsigned char *)handed[i] == i, "a handed block has changed");
        free(handed[i]);
        handed[i] = NULL;
    }
    return unused;
}

/* False where the system has none for a thread either. */
static int in_a_thread(void *(*run)(void *))
{
    pthread_attr_t attributes;
    pthread_t thread;
    int error;
    CHECK(pthread_attr_init(&attributes) == 0, "pthread_attr_init");
    /* Small enough for the C library to keep it: it aborts when a stack cannot be unmapped. */
    CHECK(pthread_attr_setstacksize(&attributes, 128 * KIB) == 0, "a stack of 128 KiB");
    error = pthread_create(&thread, &attributes, run, NULL);
    pthread_attr_destroy(&attributes);
    CHECK(error == 0 || may_fail, "pthread_create: %s", strerror(error));
    if (error == 0)
        join_thread(thread);
    return error == 0;
}

static void threads(void)
{
    size_t i;
    in_a_thread(sender);
    in_a_thread(receiver);
    /* The rest are of a thread that is gone. */
    for (i = 0; i < COUNT(handed); i++) {
        free(handed[i]);
        handed[i] = NULL;
    }
}

static void life(void)
{
    size_t round, i;
    for (round = 0; round < 2; round++) {
        small_blocks();
        runs();
        mappings();
        aligned_blocks();
        threads();
        if (round == 0) {
            thin_out(0, 3);
            errno = MARK;
            malloc_trim(0);
        }
    }
    for (i = 0; i < count; i++)
        verify(&blocks[i]);
}

/* All that lives is freed, and nothing kept. */
static inline void end_of_life(void)
{
    while (count > 0)
        drop(count / 2);
    malloc_trim(0);
}

/* A number of the statistics, whose walk must find all structures sound. */
static inline size_t number(const char *name)
{
    static size_t (*stats_json)(char *, size_t);
    static char json[1 << 16];
    char quoted[64];
    const char *at;
    size_t length;
    if (stats_json == NULL)
        stats_json = (size_t (*)(char *, size_t))(uintptr_t)dlsym(RTLD_DEFAULT, "hak_stats_json");
    length = stats_json(json, sizeof json);
    CHECK(length > 0 && length < sizeof json, "statistics of %zu bytes", length);
    CHECK(strstr(json, "\"check\":\"ok\"") != NULL, "the walk says %.200s", json);
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    at = strstr(json, quoted);
    CHECK(at != NULL, "%s is not in %.200s", quoted, json);
    return strtoul(at + strlen(quoted), NULL, 10);
}

#endif
