// guard: exit 0
/* What was in the block is gone. */
#include "misuse.h"

int main(void)
{
    unsigned char *block = take_unfenced(64);
    memset(block, 'A', 64);
    free(block);
    CHECK(is_zero(block, 64), "the content of a freed block can be read");
    return 0;
}
