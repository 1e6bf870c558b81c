// guard: abort malloc: the block was written to after it was freed
/* The block is not held back any more when it is written to; it is found when it is taken again. */
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    size_t i;
    free(block);
    turn_over(200);
    block[10] = 1;
    for (i = 0; i < 1000; i++)
        take(64);
    _exit(1);
}
