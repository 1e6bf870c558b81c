// control: glibc
/* Doing the same again and again neither grows the address space nor what is resident of it. */
#include "check.h"

static void large_blocks(uint64_t *state)
{
    void *blocks[20];
    size_t i;
    for (i = 0; i < COUNT(blocks); i++) {
        size_t size = 100 * KIB + next_random(state) % (6 * MIB);
        blocks[i] = malloc(size);
        CHECK(blocks[i] != NULL, "malloc(%zu)", size);
        memset(blocks[i], 1, 5000);
        if (i % 3 == 0) {
            blocks[i] = realloc(blocks[i], size * 2);
            CHECK(blocks[i] != NULL, "realloc(%zu)", size * 2);
        } else if (i % 3 == 1) {
            blocks[i] = realloc(blocks[i], size / 3);
            CHECK(blocks[i] != NULL, "realloc(%zu)", size / 3);
        }
    }
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[(i * 7) % COUNT(blocks)]);
}

static void huge_blocks(void)
{
    char *block = (char *)malloc(200 * MIB);
    CHECK(block != NULL, "malloc");
    block[0] = block[100 * MIB] = 1;
    block = (char *)realloc(block, 900 * MIB);
    CHECK(block != NULL && block[100 * MIB] == 1, "realloc");
    block = (char *)realloc(block, 20 * MIB);
    CHECK(block != NULL && block[0] == 1, "realloc");
    free(block);
}

static void small_blocks(uint64_t *state)
{
    static void *blocks[20000];
    size_t i;
    for (i = 0; i < COUNT(blocks); i++)
        CHECK((blocks[i] = malloc(random_size(state, 20000))) != NULL, "malloc");
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[(i * 7919) % COUNT(blocks)]);
}

int main(void)
{
    uint64_t state = 1;
    size_t round, mapped = 0, resident = 0;
    repeat_addresses();
    for (round = 0; round < 1000; round++) {
        large_blocks(&state);
        huge_blocks();
        if (round % 20 == 0)
            small_blocks(&state);
        if (round == 250) {
            mapped = mapped_kib();
            resident = resident_kib();
        }
    }
    CHECK(mapped_kib() < mapped + 256 * KIB, "mapped: %zu to %zu KiB", mapped, mapped_kib());
    CHECK(resident_kib() < resident + 64 * KIB, "resident: %zu to %zu KiB", resident,
          resident_kib());
    return 0;
}
