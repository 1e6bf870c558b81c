// guard: abort free: something was written behind the end of the block
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(61));
    block[61] ^= 0x55;
    free(block);
    return 0;
}
