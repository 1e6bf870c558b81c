// guard: abort free: not the start of a block
// default: abort free: not the start of a block
#include "misuse.h"

int main(void)
{
    free(announce(take(300000) + 1));
    return 0;
}
