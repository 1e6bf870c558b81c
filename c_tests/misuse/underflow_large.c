// guard: abort free: something was written in front of the block
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take(100000));
    block[-1] = 1;
    free(block);
    return 0;
}
