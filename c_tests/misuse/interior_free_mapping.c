// guard: abort free: not the start of a block
#include "misuse.h"

int main(void)
{
    free(announce(take(3 * MIB) + 65536 * 3));
    return 0;
}
