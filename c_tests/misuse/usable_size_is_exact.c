// guard: exit 0
/* So whoever writes as much as malloc_usable_size allows writes over no canary. */
#include "misuse.h"

int main(void)
{
    size_t size;
    for (size = 1; size < 200000; size += 1 + size / 7) {
        unsigned char *block = take(size);
        CHECK(malloc_usable_size(block) == size, "%zu for %zu bytes", malloc_usable_size(block),
              size);
        memset(block, 'A', size);
        free(block);
    }
    return 0;
}
