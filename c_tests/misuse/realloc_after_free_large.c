// guard: abort realloc: the block is free already
// default: abort realloc: the block is free already
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take(300000));
    free(block);
    return realloc(launder(block), 200) == NULL;
}
