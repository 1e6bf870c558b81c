// guard: SIGSEGV
#include "misuse.h"

int main(void)
{
    unsigned char *block = take(100000);
    memset(block + 100000, 1, 8);
    free(block);
    return 0;
}
