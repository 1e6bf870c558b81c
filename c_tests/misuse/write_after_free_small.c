// guard: abort free: the block was written to after it was freed
/* Nothing more happens to the block: it is found when the process ends. */
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    free(block);
    block[10] = 1;
    return 0;
}
