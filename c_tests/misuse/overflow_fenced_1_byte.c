// guard: SIGSEGV
#include "misuse.h"

int main(void)
{
    unsigned char *block = take_fenced(64);
    block[64] = 1;
    free(block);
    return 0;
}
