// guard: abort free: the block was written to after it was freed
/* Whoever keeps the address that realloc was given is found out, although the block only shrank. */
#include "misuse.h"

int main(void)
{
    unsigned char *block = (unsigned char *)announce(take_unfenced(64));
    unsigned char *smaller = (unsigned char *)realloc(block, 60);
    CHECK(smaller != NULL && smaller != block, "realloc");
    block[10] = 1;
    free(smaller);
    return 0;
}
