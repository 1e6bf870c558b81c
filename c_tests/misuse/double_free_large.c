// guard: abort free: the block is free already
// default: abort free: the block is free already
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take(300000));
    free(block);
    free(launder(block));
    return 0;
}
