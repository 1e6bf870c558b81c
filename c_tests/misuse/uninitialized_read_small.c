// guard: exit 0
/* Blocks are zero when they are taken, fresh or not. */
#include "misuse.h"

int main(void)
{
    static unsigned char *blocks[70000];
    size_t i, round;
    for (round = 0; round < 3; round++) {
        for (i = 0; i < COUNT(blocks); i++) {
            blocks[i] = take(64);
            CHECK(is_zero(blocks[i], 64), "a block of 64 bytes");
            memset(blocks[i], 'A', 64);
        }
        for (i = 0; i < COUNT(blocks); i++)
            free(blocks[i]);
    }
    return 0;
}
