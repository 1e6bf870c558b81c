// guard: SIGSEGV
#include "misuse.h"

int main(void)
{
    return *(volatile unsigned char *)take(opaque(0));
}
