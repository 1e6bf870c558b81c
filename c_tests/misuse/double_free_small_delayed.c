// guard: abort free: the block is free already
#include "misuse.h"

int main(void)
{
    unsigned char *block = take_unfenced(64), *other = take_unfenced(64);
    free(block);
    free(other);
    free(announce(block));
    return 0;
}
