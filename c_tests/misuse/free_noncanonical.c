// guard: abort free: not a block of any allocator here
// default: abort free: not a block of any allocator here
#include "misuse.h"

int main(void)
{
    free(announce((void *)opaque((size_t)0xdead << 48 | 0x1230)));
    return 0;
}
