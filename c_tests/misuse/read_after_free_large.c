// guard: SIGSEGV
#include "misuse.h"

int main(void)
{
    unsigned char *block = take(300000);
    memset(block, 'A', 300000);
    free(block);
    return *(volatile unsigned char *)(block + 100);
}
