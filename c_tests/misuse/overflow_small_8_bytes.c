// guard: abort free: something was written behind the end of the block
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    memset(block + 64, 1, 8);
    free(block);
    return 0;
}
