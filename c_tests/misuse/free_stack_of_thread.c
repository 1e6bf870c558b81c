// guard: abort free: not a block: it is on the stack
#include "misuse.h"

static void *free_local(void *argument)
{
    _Alignas(16) unsigned char local[64];
    free(announce(local));
    return argument;
}

int main(void)
{
    join_thread(start_thread(free_local, NULL));
    return 0;
}
