/*
 * What other threads have freed serves its owner, and goes back to the system: also where the owner does not run out
 * of blocks of its own, where it wants one large block, and where it has ended.
 */
#include "check.h"

#include <sys/resource.h>

#define BLOCK 512
#define BYTES (64 * MIB)
#define PAGES (BYTES / 4096)

static void *blocks[BYTES / BLOCK];

static void *fill(void *argument)
{
    size_t size = *(const size_t *)argument, i;
    for (i = 0; i < BYTES / size; i++) {
        CHECK((blocks[i] = malloc(size)) != NULL, "malloc");
        memset(blocks[i], 1, size);
    }
    return NULL;
}

static void *free_all(void *argument)
{
    size_t i;
    (void)argument;
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static size_t small = BLOCK, page = 4096;

/* Blocks of a size of its own go in and out of their slabs, and none is needed of another size. */
static void an_owner_that_only_frees(void)
{
    static void *own[20000];
    size_t before, i;
    int tries;
    for (i = 0; i < COUNT(own); i++)
        CHECK((own[i] = malloc(opaque(48))) != NULL, "malloc");
    fill(&small);
    before = resident_kib();
    join_thread(start_thread(free_all, NULL));
    for (tries = 0; tries < 10 && resident_kib() > before / 2; tries++) {
        sleep_ms(500);
        for (i = 0; i < COUNT(own) / 10; i++)
            free(own[i + (size_t)tries * (COUNT(own) / 10)]);
    }
    CHECK(resident_kib() < before / 2, "%zu KiB resident, %zu before all was freed", resident_kib(), before);
}

/* What is in the way of a large block is free already. */
static void a_large_request(void)
{
    struct rlimit limit;
    void *large;
    fill(&small);
    join_thread(start_thread(free_all, NULL));
    limit.rlim_cur = (mapped_kib() + 16 * KIB) * KIB;
    limit.rlim_max = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
    large = malloc(opaque(BYTES * 3 / 4));
    CHECK(large != NULL, "%zu MiB are free, and 16 MiB of addresses", BYTES / MIB);
    free(large);
}

/* One block in 16 stays, here and there. */
static void an_owner_that_has_ended(void)
{
    uint64_t state = 1;
    size_t i, live = 0, left;
    join_thread(start_thread(fill, &page));
    for (i = 0; i < PAGES; i++)
        if (next_random(&state) % 16 == 0) {
            blocks[live++] = blocks[i];
        } else {
            free(blocks[i]);
        }
    left = resident_kib();
    CHECK(left < BYTES / KIB / 2, "%zu KiB resident for %zu", left, live * 4);
    malloc_trim(0);
    CHECK(resident_kib() < live * 4 + 6 * KIB, "%zu KiB resident for %zu after malloc_trim", resident_kib(),
          live * 4);
    for (i = 0; i < live; i++)
        free(blocks[i]);
}

int main(void)
{
    static void (*const CASES[])(void) = {an_owner_that_only_frees, a_large_request, an_owner_that_has_ended};
    size_t i;
    for (i = 0; i < COUNT(CASES); i++) {
        pid_t child = fork();
        CHECK(child >= 0, "fork");
        if (child == 0) {
            CASES[i]();
            exit(0);
        }
        CHECK(wait_for(child) == 0, "case %zu", i);
    }
    return 0;
}
