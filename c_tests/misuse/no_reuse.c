// guard: exit 0
/* A freed block is not handed out again until many others have been freed. */
#include "misuse.h"

int main(void)
{
    unsigned char *block = take_unfenced(64);
    size_t i;
    free(block);
    for (i = 0; i < 10000; i++) {
        unsigned char *next = take(64);
        CHECK(next != block, "it is back after %zu others", i);
        free(next);
    }
    return 0;
}
