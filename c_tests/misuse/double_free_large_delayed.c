// guard: abort free: the block is free already
// default: abort free: the block is free already
#include "misuse.h"

int main(void)
{
    unsigned char *block = take(300000), *other = take(300000);
    free(block);
    free(other);
    free(announce(block));
    return 0;
}
