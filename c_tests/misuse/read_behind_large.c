// guard: SIGSEGV
#include "misuse.h"

int main(void)
{
    unsigned char *block = take(100000);
    return *(volatile unsigned char *)(block + 100000);
}
