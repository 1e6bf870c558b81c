// guard: abort free: something was written behind the end of the block
/* It is the neighbour's end that is written to. */
#include "misuse.h"

int main(void)
{
    unsigned char *blocks[64];
    size_t i, j;
    for (i = 0; i < COUNT(blocks); i++)
        blocks[i] = take_unfenced(64);
    for (i = 0; i < COUNT(blocks); i++)
        for (j = 0; j < COUNT(blocks); j++)
            if (blocks[i] + 80 == blocks[j]) {
                memset(blocks[j] - 8, 0, 8);
                free(announce(blocks[i]));
                return 0;
            }
    CHECK(0, "no two blocks are neighbours");
    return 1;
}
