// guard: abort malloc_usable_size: not a block of any allocator here
// default: abort malloc_usable_size: not a block of any allocator here
#include "misuse.h"

int main(void)
{
    return malloc_usable_size(announce((void *)opaque(1))) != 0;
}
