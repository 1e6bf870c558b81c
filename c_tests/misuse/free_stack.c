// guard: abort free: not a block: it is on the stack
#include "misuse.h"

int main(void)
{
    _Alignas(16) unsigned char local[64];
    free(announce(local));
    return 0;
}
