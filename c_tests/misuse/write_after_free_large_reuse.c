// guard: SIGSEGV
#include "misuse.h"

int main(void)
{
    unsigned char *block = take(300000);
    size_t i;
    free(block);
    for (i = 0; i < 100; i++)
        CHECK(take(300000) != block, "the addresses of a freed block serve again at once");
    block[100] = 1;
    return 0;
}
