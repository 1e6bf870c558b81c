// guard: abort malloc_usable_size: not the start of a block
#include "misuse.h"

int main(void)
{
    return malloc_usable_size(announce(take_unfenced(64) + 16)) != 0;
}
