// guard: abort realloc: something was written behind the end of the block
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    block[64] ^= 0x55;
    return realloc(block, 200) == NULL;
}
