// control: glibc
/*
 * Under RLIMIT_AS and RLIMIT_DATA every function answers NULL and ENOMEM when memory ends, in every
 * size tier; nothing that lives is harmed; what is freed serves again, under the limit and above it.
 */
#include "allocators.h"

#include <sys/resource.h>

struct block {
    struct block *next;
    size_t size;
};

static void limit(int resource, size_t bytes)
{
    struct rlimit limits;
    CHECK(getrlimit(resource, &limits) == 0, "getrlimit");
    limits.rlim_cur = bytes == 0 ? limits.rlim_max : bytes;
    CHECK(setrlimit(resource, &limits) == 0, "setrlimit to %zu", bytes);
}

static struct block *fill_up(const struct allocator *allocator, size_t size, size_t *total)
{
    struct block *list = NULL;
    for (;;) {
        struct block *block;
        errno = 0;
        block = (struct block *)allocator->allocate(size);
        if (block == NULL)
            break;
        /* glibc sets errno where it fails to make an arena, and then finds the memory elsewhere. */
        CHECK(errno == 0 || !on_hakmem(), "%s of %zu succeeded with errno", allocator->name, size);
        block->next = list;
        block->size = size;
        if (size > sizeof *block)
            pattern_fill(block + 1, size - sizeof *block < 2000 ? size - sizeof *block : 2000,
                         *total);
        list = block;
        *total += size;
    }
    CHECK(errno == ENOMEM, "%s of %zu failed", allocator->name, size);
    return list;
}

static void check_and_free(struct block *list, size_t total)
{
    while (list != NULL) {
        struct block *block = list;
        size_t size = block->size, length = size - sizeof *block < 2000 ? size - sizeof *block
                                                                        : 2000;
        total -= size;
        CHECK(pattern_holds(block + 1, length, total), "a block of %zu bytes", size);
        list = block->next;
        free(block);
    }
    CHECK(total == 0, "%zu bytes are missing", total);
}

static void one_tier(size_t i, size_t size, size_t headroom)
{
    size_t footprint = size > ALLOCATORS[i].alignment ? size : ALLOCATORS[i].alignment;
    size_t total = 0, again = 0, j;
    struct block *list = fill_up(&ALLOCATORS[i], size, &total), *more;
    CHECK(total > headroom / 8 / footprint * size, "%s of %zu gave out at %zu of %zu bytes", ALLOCATORS[i].name, size,
          total, headroom);
    /* Whatever is asked for now fails or succeeds properly; realloc keeps the block. */
    for (j = 0; j < COUNT(ALLOCATORS); j++) {
        errno = 0;
        more = (struct block *)ALLOCATORS[j].allocate(headroom * 2);
        CHECK(more == NULL && errno == ENOMEM, "%s beyond the limit", ALLOCATORS[j].name);
    }
    errno = 0;
    CHECK(realloc(list, opaque(headroom * 2)) == NULL && errno == ENOMEM, "realloc");
    check_and_free(list, total);

    list = fill_up(&ALLOCATORS[i], size, &again);
    CHECK(again >= total / 2, "%s of %zu: %zu bytes, but only %zu the second time",
          ALLOCATORS[i].name, size, total, again);
    check_and_free(list, again);
}

static pthread_barrier_t all_started;

static void *in_thread(void *argument)
{
    size_t *total = (size_t *)argument;
    /* The stacks of the others count, too: none takes memory before all have theirs. */
    pthread_barrier_wait(&all_started);
    return fill_up(&ALLOCATORS[0], 3000, total);
}

static void run_under(int resource, size_t base, size_t headroom)
{
    static const size_t SIZES[] = {40, 1000, 5000, 40000, 300000, 3 << 20, 20 << 20};
    size_t totals[3] = {0, 0, 0}, i, j;
    struct block *lists[COUNT(totals)];
    pthread_t threads[COUNT(totals)];
    limit(resource, base + headroom);
    for (j = 0; j < COUNT(SIZES); j++)
        for (i = 0; i < COUNT(ALLOCATORS); i++)
            one_tier(i, SIZES[j], headroom);
    limit(resource, base + headroom + 64 * MIB);
    pthread_barrier_init(&all_started, NULL, COUNT(totals));
    for (i = 0; i < COUNT(totals); i++)
        threads[i] = start_thread(in_thread, &totals[i]);
    for (i = 0; i < COUNT(totals); i++)
        lists[i] = (struct block *)join_thread(threads[i]);
    for (i = 0; i < COUNT(totals); i++)
        check_and_free(lists[i], totals[i]);
    limit(resource, 0);
}

static size_t page_faults(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0, "getrusage");
    return (size_t)usage.ru_minflt;
}

/* Nothing that is kept goes for a size that no system can serve: such come out of damaged files. */
static void hopeless_sizes_cost_nothing(void)
{
    static const size_t SIZES[] = {(size_t)1 << 47, (size_t)1 << 50, ((size_t)1 << 62) - 7, (size_t)-1 / 2, (size_t)-1};
    static char *blocks[100];
    size_t faults = 0, round, i, j;
    for (round = 0; round < 3; round++) {
        if (round == 2)
            faults = page_faults();
        for (i = 0; i < COUNT(blocks); i++) {
            blocks[i] = (char *)launder(malloc(10000));
            CHECK(blocks[i] != NULL, "malloc");
            memset(blocks[i], 1, 10000);
        }
        if (round == 2)
            faults = page_faults() - faults;
        for (i = 0; i < COUNT(blocks); i++)
            free(blocks[i]);
        for (i = 0; i < COUNT(SIZES); i++)
            for (j = 0; j < COUNT(ALLOCATORS); j++) {
                errno = 0;
                CHECK(ALLOCATORS[j].allocate(opaque(SIZES[i])) == NULL && errno == ENOMEM, "%s of %zu",
                      ALLOCATORS[j].name, SIZES[i]);
            }
    }
    /* (glibc gives so much back in any case.) */
    CHECK(faults < 50 || !on_hakmem(), "%zu page faults for memory that was there", faults);
}

/* Where addresses are limited, a buffer that has shrunk does not hold those that it came to. */
static void buffers_that_shrink_give_addresses_back(size_t headroom)
{
    void *buffers[12];
    size_t i, size;
    limit(RLIMIT_AS, mapped_kib() * KIB + headroom);
    for (i = 0; i < COUNT(buffers); i++) {
        buffers[i] = malloc(5000);
        for (size = 10000; size <= headroom / 3; size *= 2) {
            buffers[i] = realloc(buffers[i], size);
            CHECK(buffers[i] != NULL, "realloc of buffer %zu to %zu", i, size);
        }
        buffers[i] = realloc(buffers[i], 2 * MIB);
        CHECK(buffers[i] != NULL, "realloc of buffer %zu to less", i);
    }
    for (i = 0; i < COUNT(buffers); i++)
        free(buffers[i]);
    limit(RLIMIT_AS, 0);
}

int main(void)
{
    unsigned char *block;
    free(launder(malloc(1)));
    hopeless_sizes_cost_nothing();
    run_under(RLIMIT_AS, mapped_kib() * KIB, 96 * MIB);
    buffers_that_shrink_give_addresses_back(96 * MIB);
    run_under(RLIMIT_DATA, statm_kib(5) * KIB, 96 * MIB);
    /* Memory has come back. */
    block = (unsigned char *)malloc(512 * MIB);
    CHECK(block != NULL, "malloc of 512 MiB without a limit");
    block[0] = block[512 * MIB - 1] = 1;
    free(block);
    return 0;
}
