// control: glibc
/* malloc_trim gives back what can be spared; mallopt accepts what glibc's accepts. */
#include "check.h"

#define BLOCKS 20000
#define SIZE 3000

static char *blocks[BLOCKS];

/* The last block stays, or glibc gives back what is above all living blocks by itself. */
static void fill_and_free(void)
{
    size_t i, filled;
    free(blocks[BLOCKS - 1]);
    for (i = 0; i < BLOCKS; i++) {
        CHECK((blocks[i] = (char *)malloc(SIZE)) != NULL, "malloc");
        memset(blocks[i], 1, SIZE);
    }
    filled = resident_kib();
    CHECK(filled >= BLOCKS * (size_t)SIZE / KIB, "%zu KiB resident", filled);
    for (i = 0; i < BLOCKS - 1; i++)
        free(blocks[i]);
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
    static const size_t PADS[] = {(size_t)1 << 40, SIZE_MAX};
    size_t before, i;
    unsigned char *block, *zeros;

    fill_and_free();
    before = resident_kib();
    errno = 9;
    CHECK(malloc_trim(0) == 1, "there is nothing to give back among %zu KiB resident", before);
    CHECK(errno == 9, "malloc_trim changed errno");
    /* Of the 58 MiB that were freed some had stayed for the next malloc. */
    CHECK(resident_kib() + KIB < before, "%zu KiB resident, %zu after malloc_trim", before,
          resident_kib());
    CHECK(resident_kib() < 12 * KIB, "%zu KiB resident after malloc_trim", resident_kib());
    CHECK(malloc_trim(0) == 0 || !on_hakmem(), "it gave memory back twice");
    for (i = 0; i < COUNT(PADS); i++) {
        size_t j;
        fill_and_free();
        for (j = 0; j < 40; j++) {
            blocks[j] = (char *)malloc(opaque(200000));
            CHECK(blocks[j] != NULL, "malloc");
            memset(blocks[j], 1, 200000);
        }
        for (j = 0; j < 40; j++)
            free(blocks[j]);
        before = resident_kib();
        malloc_trim(opaque(PADS[i]));
        /* In glibc the pad concerns the top of the heap alone. */
        CHECK(resident_kib() + KIB > before || !on_hakmem(), "%zu KiB resident, %zu after a trim that leaves %zu",
              before, resident_kib(), PADS[i]);
    }

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
