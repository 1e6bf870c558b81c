/*
 * Uses early.c: a block that was allocated before the constructor of the allocator has run is one
 * like any other. TEST_HAKMEM says that it must be hakmem's.
 */
#include "../check.h"

extern char *take_early_block(void);

int main(void)
{
    char *block = take_early_block();
    size_t usable = malloc_usable_size(block);
    CHECK(strcmp(block, "from before main") == 0, "it says %s", block);
    /* 100 bytes are 112 in hakmem's classes, and 104 in glibc's. */
    CHECK(getenv("TEST_HAKMEM") == NULL || usable == 112, "malloc_usable_size is %zu", usable);
    block = (char *)realloc(block, 5000);
    CHECK(block != NULL && strcmp(block, "from before main") == 0, "realloc");
    free(block);
    return 0;
}
