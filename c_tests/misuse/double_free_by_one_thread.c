// guard: abort free: the block is free already
// default: abort free: the block is free already
/* A thread frees another's block twice, among others of its neighbourhood. */
#include "misuse.h"

static void *free_them(void *argument)
{
    void **blocks = (void **)argument;
    size_t i;
    for (i = 0; i < 20; i++)
        free(blocks[i]);
    free(blocks[10]);
    return NULL;
}

int main(void)
{
    void *blocks[20];
    size_t i;
    for (i = 0; i < COUNT(blocks); i++)
        blocks[i] = take_unfenced(64);
    announce(blocks[10]);
    join_thread(start_thread(free_them, blocks));
    return 0;
}
