// guard: abort free: not the start of a block
#include "misuse.h"

int main(void)
{
    free(announce(take_unfenced(64) + 1));
    return 0;
}
