// guard: abort realloc: not a block of any allocator here
// default: abort realloc: not a block of any allocator here
#include "misuse.h"

int main(void)
{
    return realloc(announce((void *)opaque(1)), 16) == NULL;
}
