// control: glibc
/*
 * In a process that locks its memory (mlockall, as time servers and audio programs do) the system refuses
 * to take pages back: nothing is zero, or gone, because it was to go. What was refused goes when it can.
 * And where RLIMIT_MEMLOCK ends, memory ends: NULL and ENOMEM, and what was freed serves again.
 */
#include "allocators.h"

#include <sys/mman.h>
#include <sys/resource.h>

static const size_t SIZES[] = {24, 100, 1000, 5000, 20000, 40000, 300000, 1500000, 3 << 20, 20 << 20};

static void *free_all(void *argument)
{
    unsigned char **blocks = (unsigned char **)argument;
    for (; *blocks != NULL; blocks++)
        free(*blocks);
    return NULL;
}

/* Blocks of `size` are filled and freed, by another thread if `elsewhere`; calloc's are zero all the same. */
static void zeros_again(size_t size, int elsewhere)
{
    static unsigned char *blocks[4097];
    size_t count = 24 * MIB / size + 1, i;
    if (count > COUNT(blocks) - 1)
        count = COUNT(blocks) - 1;
    for (i = 0; i < count; i++) {
        blocks[i] = (unsigned char *)malloc(size);
        CHECK(blocks[i] != NULL, "malloc of %zu bytes", size);
        memset(blocks[i], 0xA5, size);
    }
    blocks[count] = NULL;
    if (elsewhere)
        join_thread(start_thread(free_all, blocks));
    else
        free_all(blocks);
    malloc_trim(0);
    for (i = 0; i < count; i++) {
        blocks[i] = (unsigned char *)calloc(1, size);
        CHECK(blocks[i] != NULL && all_zero(blocks[i], size), "calloc of %zu bytes, block %zu", size, i);
        memset(blocks[i], 0x5A, size);
    }
    free_all(blocks);
}

/* Blocks of all sizes come, change and go, and each keeps what was written into it. */
static void turnover(uint64_t seed)
{
    static struct {
        unsigned char *start;
        size_t size;
    } blocks[128];
    size_t step, at, size, kept;
    for (step = 0; step < 6000; step++) {
        uint64_t choice = next_random(&seed);
        at = choice % COUNT(blocks);
        size = random_size(&seed, 4 * MIB);
        kept = blocks[at].size < size ? blocks[at].size : size;
        if (blocks[at].start != NULL)
            CHECK(pattern_holds(blocks[at].start, blocks[at].size, at), "a block of %zu bytes", blocks[at].size);
        if (blocks[at].start != NULL && (choice >> 32) % 2 == 0) {
            blocks[at].start = (unsigned char *)realloc(blocks[at].start, size);
            CHECK(blocks[at].start != NULL && pattern_holds(blocks[at].start, kept / 8 * 8, at),
                  "realloc from %zu to %zu bytes", blocks[at].size, size);
        } else {
            free(blocks[at].start);
            blocks[at].start = (unsigned char *)calloc(1, size);
            CHECK(blocks[at].start != NULL && all_zero(blocks[at].start, size), "calloc of %zu bytes", size);
        }
        blocks[at].size = size;
        pattern_fill(blocks[at].start, size, at);
    }
    for (at = 0; at < COUNT(blocks); at++) {
        free(blocks[at].start);
        blocks[at].start = NULL;
        blocks[at].size = 0;
    }
}

/* Addresses to grow into are memory here. */
static void growth(void)
{
    size_t before = resident_kib(), size;
    char *block = NULL;
    for (size = MIB; size <= 48 * MIB; size += MIB) {
        block = (char *)realloc(block, size);
        CHECK(block != NULL, "realloc to %zu bytes", size);
        memset(block + size - MIB, 1, MIB);
    }
    CHECK(resident_kib() < before + 72 * KIB || !on_hakmem(), "a block of 48 MiB: %zu KiB resident before, %zu after",
          before, resident_kib());
    free(block);
}

static void all_locked(int flags)
{
    size_t before, i;
    zeros_again(1000, 0);
    malloc_trim(0);
    before = resident_kib();
    /* Where that is forbidden, there is nothing to show. */
    if (mlockall(flags) != 0)
        return;
    for (i = 0; i < COUNT(SIZES); i++) {
        zeros_again(SIZES[i], 0);
        zeros_again(SIZES[i], 1);
    }
    turnover((uint64_t)flags);
    growth();
    CHECK(munlockall() == 0, "munlockall");
    for (i = 0; i < COUNT(SIZES); i++)
        zeros_again(SIZES[i], 1);
    malloc_trim(0);
    /* glibc trims no arena but those in use, and each thread had one. */
    CHECK(resident_kib() < before + 8 * KIB || !on_hakmem(), "%zu KiB resident before, %zu after", before,
          resident_kib());
}

struct block {
    struct block *next;
};

static struct block *fill_up(size_t size, size_t most, size_t *total)
{
    struct block *list = NULL, *block;
    for (*total = 0; (block = (struct block *)malloc(size)) != NULL; *total += size) {
        /* Somebody has let it lock what it likes: there is nothing to show. */
        if (*total > most)
            _exit(0);
        memset(block, 1, size);
        block->next = list;
        list = block;
    }
    CHECK(errno == ENOMEM, "malloc of %zu bytes", size);
    errno = 0;
    CHECK(calloc(1, opaque(200 * MIB)) == NULL && errno == ENOMEM, "calloc");
    errno = 0;
    CHECK(list == NULL || (realloc(list, opaque(200 * MIB)) == NULL && errno == ENOMEM), "realloc");
    return list;
}

static void free_list(struct block *list)
{
    while (list != NULL) {
        struct block *block = list;
        list = block->next;
        free(block);
    }
}

/* In a process of its own: it gives up the right to lock what it likes. What is mapped from then on counts. */
static void under_a_limit(void)
{
    size_t room = 48 * MIB, i, total, again;
    struct rlimit limits;
    struct block *list;
    CHECK(getrlimit(RLIMIT_MEMLOCK, &limits) == 0, "getrlimit");
    /* With less there are no slabs at all. */
    if (limits.rlim_max < 8 * MIB)
        return;
    if (limits.rlim_max < room)
        room = limits.rlim_max;
    limits.rlim_cur = limits.rlim_max = room;
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limits) == 0, "setrlimit to %zu", room);
    if ((geteuid() == 0 && setuid(65534) != 0) || mlockall(MCL_FUTURE) != 0)
        return;
    for (i = 0; i < COUNT(SIZES); i++) {
        list = fill_up(SIZES[i], room + GIB, &total);
        CHECK(total >= room / 2 || SIZES[i] > room / 4, "%zu bytes in blocks of %zu", total, SIZES[i]);
        free_list(list);
        list = fill_up(SIZES[i], room + GIB, &again);
        CHECK(again >= total / 2, "blocks of %zu: %zu bytes, but only %zu the second time", SIZES[i], total, again);
        free_list(list);
    }
}

int main(void)
{
    pid_t child;
    all_locked(MCL_CURRENT | MCL_FUTURE);
    all_locked(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    child = fork();
    if (child == 0) {
        under_a_limit();
        _exit(0);
    }
    CHECK(child > 0 && wait_for(child) == 0, "the child under a limit");
    return 0;
}
