// control: glibc
/* malloc_trim gives back what can be spared; mallopt accepts what glibc's accepts. */
#include "check.h"

#define BLOCKS 20000
#define SIZE 3000

static size_t fill_and_free(void)
{
    static char *blocks[BLOCKS];
    size_t i, filled;
    for (i = 0; i < BLOCKS; i++) {
        CHECK((blocks[i] = (char *)malloc(SIZE)) != NULL, "malloc");
        memset(blocks[i], 1, SIZE);
    }
    filled = resident_kib();
    CHECK(filled >= BLOCKS * (size_t)SIZE / KIB, "%zu KiB resident", filled);
    for (i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return filled;
}

int main(void)
{
    static const struct {
        int parameter, value;
    } ACCEPTED[] = {
        {M_MMAP_THRESHOLD, 256 * 1024}, {M_TRIM_THRESHOLD, 1024 * 1024}, {M_TOP_PAD, 64 * 1024},
        {M_MMAP_MAX, 1000},             {M_ARENA_MAX, 2},                {M_ARENA_TEST, 2},
        {M_CHECK_ACTION, 1},            {M_MXFAST, 64},                  {M_PERTURB, 0x5A},
    };
    size_t filled, i;
    unsigned char *block, *zeros;

    filled = fill_and_free();
    errno = 9;
    malloc_trim(0);
    CHECK(errno == 9, "malloc_trim changed errno");
    CHECK(resident_kib() + 40 * KIB < filled, "%zu KiB resident, %zu after malloc_trim", filled,
          resident_kib());
    /* 1 only if something went back: trimming twice cannot give back twice for ever. */
    for (i = 0; i < 20 && malloc_trim(0) != 0; i++)
        continue;
    CHECK(i < 20 || !on_hakmem(), "malloc_trim finds memory to give back each time");
    filled = fill_and_free();
    CHECK(malloc_trim(opaque((size_t)1 << 40)) >= 0, "malloc_trim with a pad of 1 TiB");

    for (i = 0; i < COUNT(ACCEPTED); i++) {
        errno = 9;
        CHECK(mallopt(ACCEPTED[i].parameter, ACCEPTED[i].value) == 1, "mallopt(%d, %d)",
              ACCEPTED[i].parameter, ACCEPTED[i].value);
        CHECK(errno == 9, "mallopt changed errno");
    }
    /* With M_PERTURB glibc fills blocks with a byte; calloc's stay zero. */
    block = (unsigned char *)malloc(5000);
    CHECK(block != NULL, "malloc");
    memset(block, 3, 5000);
    free(launder(block));
    zeros = (unsigned char *)calloc(1, 5000);
    CHECK(zeros != NULL && all_zero(zeros, 5000), "calloc under M_PERTURB");
    free(zeros);
    CHECK(mallopt(M_PERTURB, 0) == 1, "mallopt(M_PERTURB, 0)");
    fill_and_free();
    return 0;
}
