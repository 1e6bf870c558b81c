// guard: abort realloc: the block is free already
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    free(block);
    return realloc(launder(block), 200) == NULL;
}
