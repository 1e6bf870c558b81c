// control: glibc
/*
 * A program or another library defines clock_gettime or getrlimit, and allocates in it, as libfaketime does when it is
 * first called: the allocator asks neither, or it would come back in the middle of itself.
 */
#include "allocators.h"

#include <sys/resource.h>

static int inside;

int clock_gettime(clockid_t clock, struct timespec *time)
{
    void *block;
    CHECK(inside == 0, "it was asked in the middle of malloc or free");
    block = malloc(opaque(100));
    CHECK(block != NULL, "malloc");
    free(launder(block));
    time->tv_sec = (time_t)clock;
    time->tv_nsec = 0;
    return 0;
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
    void *block = malloc(opaque(100));
    CHECK(inside == 0, "it was asked in the middle of malloc or free");
    block = realloc(block, opaque(100000));
    CHECK(block != NULL, "realloc");
    free(launder(block));
    limit->rlim_cur = limit->rlim_max = (rlim_t)resource;
    return 0;
}

int main(void)
{
    static const size_t SIZES[] = {16, 500, 4000, 30000, 100000, 1 << 20, 5 << 20};
    static void *blocks[2000];
    size_t round, i, j;
    struct timespec time;
    struct rlimit limit;
    CHECK(clock_gettime(7, &time) == 0 && time.tv_sec == 7, "clock_gettime of this program");
    CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == RLIMIT_CORE, "getrlimit of this program");
    inside = 1;
    for (i = 0, blocks[0] = NULL; i < 24; i++)
        CHECK((blocks[0] = realloc(blocks[0], (size_t)1 << i)) != NULL, "realloc to %zu bytes", (size_t)1 << i);
    free(blocks[0]);
    for (round = 0; round < 3; round++)
        for (i = 0; i < COUNT(SIZES); i++) {
            size_t count = 64 * MIB / SIZES[i] < COUNT(blocks) ? 64 * MIB / SIZES[i] : COUNT(blocks);
            for (j = 0; j < count; j++)
                CHECK((blocks[j] = malloc(SIZES[i])) != NULL, "malloc of %zu bytes", SIZES[i]);
            for (j = 0; j < count; j++)
                free(blocks[j]);
        }
    return 0;
}
