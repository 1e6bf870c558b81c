// guard: abort free: the block was written to after it was freed
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    free(block);
    block[10] = 1;
    turn_over(64);
    _exit(1);
}
