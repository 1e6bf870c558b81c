// guard: abort free: something was written behind the end of the block
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    memset(block, 0x41, 128);
    free(block);
    return 0;
}
