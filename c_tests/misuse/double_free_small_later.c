// guard: abort free: the block is free already
// default: abort free: the block is free already
/* The block has long gone back into its slab when it is freed again. By default that is found when the
 * magazine that it lies in is emptied. */
#include "misuse.h"

int main(void)
{
    static unsigned char *blocks[2][20000];
    unsigned char *block;
    size_t i, j;
    for (i = 0; i < COUNT(blocks); i++)
        for (j = 0; j < COUNT(blocks[i]); j++)
            blocks[i][j] = take_unfenced(64);
    block = (unsigned char *)announce(blocks[0][10000]);
    for (j = 0; j < COUNT(blocks[0]); j++)
        free(blocks[0][j]);
    free(launder(block));
    for (j = 0; j < COUNT(blocks[1]); j++)
        free(blocks[1][j]);
    return 0;
}
