// guard: SIGSEGV
#include "misuse.h"

int main(void)
{
    *(volatile unsigned char *)take(opaque(0)) = 1;
    return 0;
}
