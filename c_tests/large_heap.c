/* 16 GiB of live blocks from 8 KiB to 1 MiB, touched sparsely; then freed in random order. */
#include "check.h"

#define HEAP (16 * GIB)
#define LIMIT (6 * MIB) /* in KiB */

struct block {
    unsigned char *bytes;
    size_t size;
};

int main(void)
{
    size_t room = HEAP / (8 * KIB), live = 0, count = 0, i;
    struct block *blocks = (struct block *)malloc(room * sizeof *blocks);
    uint64_t state = 3;
    CHECK(blocks != NULL, "malloc for the pointers");
    while (live < HEAP) {
        size_t size = 8 * KIB << (next_random(&state) % 7);
        size += next_random(&state) % size;
        blocks[count].size = size;
        blocks[count].bytes = (unsigned char *)launder(malloc(size));
        CHECK(blocks[count].bytes != NULL, "%zu bytes after %zu", size, live);
        if (count % 16 == 0)
            pattern_fill(blocks[count].bytes, 100, count);
        live += size;
        if (++count % 1024 == 0)
            CHECK(resident_kib() < LIMIT, "%zu KiB resident of %zu live", resident_kib(),
                  live / KIB);
    }
    for (i = 0; i < count; i += 16)
        CHECK(pattern_holds(blocks[i].bytes, 100, i), "block %zu of %zu bytes", i, blocks[i].size);
    for (i = count - 1; i > 0; i--) {
        size_t j = next_random(&state) % (i + 1);
        struct block other = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = other;
    }
    for (i = 0; i < count; i++)
        free(blocks[i].bytes);
    free(blocks);
    CHECK(resident_kib() < 256 * KIB, "%zu KiB resident after all were freed", resident_kib());
    return 0;
}
