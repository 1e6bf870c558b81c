// control: glibc
/* Every byte that malloc_usable_size reports may be written, and belongs to one block alone. */
#include "allocators.h"

#define NEIGHBOURS 12

int main(void)
{
    size_t sizes[400], count = border_sizes(8 * MIB, sizes, COUNT(sizes)), i, j, k;
    for (i = 0; i < COUNT(ALLOCATORS); i++)
        for (j = 0; j < count; j++) {
            unsigned char *blocks[NEIGHBOURS];
            size_t usable[NEIGHBOURS];
            size_t neighbours = sizes[j] <= 64 * KIB ? NEIGHBOURS : 2;
            for (k = 0; k < neighbours; k++) {
                blocks[k] = (unsigned char *)launder(ALLOCATORS[i].allocate(sizes[j]));
                CHECK(blocks[k] != NULL, "%s of %zu", ALLOCATORS[i].name, sizes[j]);
                usable[k] = malloc_usable_size(blocks[k]);
                CHECK(usable[k] >= sizes[j], "%s of %zu has %zu bytes", ALLOCATORS[i].name,
                      sizes[j], usable[k]);
                CHECK(usable[k] < 2 * sizes[j] + 2 * ALLOCATORS[i].alignment + 4096,
                      "%s of %zu claims %zu bytes", ALLOCATORS[i].name, sizes[j], usable[k]);
                pattern_fill(blocks[k], usable[k], j * 31 + k);
            }
            for (k = 0; k < neighbours; k++) {
                CHECK(malloc_usable_size(blocks[k]) == usable[k], "the usable size changed");
                CHECK(pattern_holds(blocks[k], usable[k], j * 31 + k),
                      "%s: two blocks of %zu bytes overlap", ALLOCATORS[i].name, sizes[j]);
            }
            /* To grow into what is already there never needs to move. */
            for (k = 0; k < neighbours; k++) {
                unsigned char *same = (unsigned char *)realloc(blocks[k], usable[k]);
                CHECK(same != NULL, "realloc to %zu", usable[k]);
                CHECK(pattern_holds(same, sizes[j], j * 31 + k), "realloc lost content");
                free(same);
            }
        }
    return 0;
}
