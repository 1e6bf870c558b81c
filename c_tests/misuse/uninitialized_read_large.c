// guard: exit 0
#include "misuse.h"

int main(void)
{
    size_t i;
    for (i = 0; i < 100; i++) {
        unsigned char *block = take(300000);
        CHECK(is_zero(block, 300000), "a block of 300,000 bytes");
        memset(block, 'A', 300000);
        free(block);
    }
    return 0;
}
