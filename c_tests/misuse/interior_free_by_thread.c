// guard: abort free: not the start of a block
// default: abort free: not the start of a block
#include "misuse.h"

static void *free_it(void *block)
{
    free(block);
    return NULL;
}

int main(void)
{
    join_thread(start_thread(free_it, announce(take_unfenced(64) + 16)));
    return 0;
}
