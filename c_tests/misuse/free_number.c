// guard: abort free: not a block of any allocator here
// default: abort free: not a block of any allocator here
#include "misuse.h"

int main(void)
{
    free(announce((void *)opaque(1)));
    return 0;
}
