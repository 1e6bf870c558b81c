// guard: abort free: not a block: the memory there cannot be written
#include "misuse.h"

_Alignas(16) static const unsigned char constant[64] = {1};

int main(void)
{
    free(announce(constant));
    return 0;
}
