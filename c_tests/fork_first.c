// control: glibc
/* The process forks before it has allocated anything; parent and child both allocate afterwards. */
#include "check.h"

#include <sys/mman.h>

static void use(uint64_t seed)
{
    unsigned char *blocks[500];
    uint64_t state = seed;
    size_t sizes[COUNT(blocks)], i;
    for (i = 0; i < COUNT(blocks); i++) {
        sizes[i] = random_size(&state, 1 * MIB);
        blocks[i] = (unsigned char *)malloc(sizes[i]);
        CHECK(blocks[i] != NULL, "malloc(%zu)", sizes[i]);
        pattern_fill(blocks[i], sizes[i], i);
    }
    for (i = 0; i < COUNT(blocks); i++) {
        CHECK(pattern_holds(blocks[i], sizes[i], i), "%zu bytes", sizes[i]);
        free(blocks[i]);
    }
}

/* Ahead of the constructors of libraries that this program does not have, and of main. */
__attribute__((constructor(102))) static void fork_early(void)
{
    int generation;
    for (generation = 0; generation < 5; generation++) {
        pid_t child = fork();
        CHECK(child >= 0, "fork");
        if (child != 0) {
            int status = wait_for(child);
            CHECK(status == 0, "generation %d ended with %d", generation, status);
            break;
        }
    }
    use((uint64_t)generation + 1);
}

int main(void)
{
    /* Each generation, in the child and the parent, gets here with its own heap. */
    use(99);
    return 0;
}
