// guard: abort free: the block is free already
// default: abort free: the block is free already
/* Two threads that did not take the block free it, one after the other. */
#include "misuse.h"

static void *free_it(void *block)
{
    free(block);
    return NULL;
}

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    join_thread(start_thread(free_it, block));
    join_thread(start_thread(free_it, block));
    return 0;
}
