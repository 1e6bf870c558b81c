// guard: abort free: something was written behind the end of the block
/* Sizes that are no multiple of 16 leave a few bytes in front of the page that cannot be touched. */
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take(100001));
    block[100001] ^= 0x55;
    free(block);
    return 0;
}
