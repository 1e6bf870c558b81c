// guard: abort free: something was written behind the end of the block
#include "misuse.h"

int main(void)
{
    char *block = (char *)announce(take_unfenced(20));
    strcpy(block, "exactly twenty bytes");
    free(block);
    return 0;
}
