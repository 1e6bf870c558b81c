// guard: abort free: not a block: it is in a mapped file
#include "misuse.h"

_Alignas(16) static unsigned char global[64] = {1};

int main(void)
{
    free(announce(global));
    return 0;
}
