// guard: SIGSEGV
#include "misuse.h"

int main(void)
{
    unsigned char *block = take(300000);
    free(block);
    block[100] = 1;
    return 0;
}
