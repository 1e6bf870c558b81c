// control: glibc
/*
 * While blocks are guarded, large ones lie in mappings of their own, of which the system grants a process 65,530. With
 * more live blocks than that, further ones are ordinary: the program's other requests, and its threads, go on.
 */
#include "check.h"

#define BLOCKS 40000

static void *idle(void *argument)
{
    free(launder(malloc(opaque(100))));
    return argument;
}

int main(void)
{
    static const size_t SIZES[] = {32768, 40000};
    static char self[] = "/proc/self/exe";
    static char *arguments[] = {self, NULL};
    static void *blocks[COUNT(SIZES)][BLOCKS];
    size_t i, j;
    if (getenv("HAKMEM_GUARD") == NULL) {
        setenv("HAKMEM_GUARD", "1", 1);
        execv(self, arguments);
        CHECK(0, "execv of itself");
    }
    for (i = 0; i < COUNT(SIZES); i++)
        for (j = 0; j < BLOCKS; j++)
            CHECK((blocks[i][j] = malloc(SIZES[i])) != NULL, "block %zu of %zu bytes", j, SIZES[i]);
    for (i = 1; i < 5000000; i += i / 4 + 1)
        free(launder(malloc(opaque(i))));
    join_thread(start_thread(idle, NULL));
    for (i = 0; i < COUNT(SIZES); i++)
        for (j = 0; j < BLOCKS; j++)
            free(blocks[i][j]);
    return 0;
}
