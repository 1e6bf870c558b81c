// guard: exit 0
/* What realloc adds is zero. */
#include "misuse.h"

int main(void)
{
    static const size_t SIZES[] = {20, 100, 5000, 40000, 3000000};
    size_t i, j;
    for (i = 0; i < COUNT(SIZES); i++)
        for (j = i + 1; j < COUNT(SIZES); j++) {
            unsigned char *block = take(SIZES[i]);
            memset(block, 'A', SIZES[i]);
            block = (unsigned char *)realloc(block, SIZES[j]);
            CHECK(block != NULL && block[SIZES[i] - 1] == 'A', "realloc");
            CHECK(is_zero(block + SIZES[i], SIZES[j] - SIZES[i]), "%zu to %zu", SIZES[i], SIZES[j]);
            free(block);
        }
    return 0;
}
