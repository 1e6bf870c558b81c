// guard: abort malloc_usable_size: the block is free already
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    free(block);
    return malloc_usable_size(launder(block)) != 64;
}
