/* Says whether it is privileged, and allocates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

int main(void)
{
    int i;
    for (i = 1; i < 1000; i++) {
        char *block = malloc((size_t)i * 100);
        if (block == NULL)
            return 1;
        memset(block, i, (size_t)i * 100);
        free(block);
    }
    printf("AT_SECURE=%lu\n", getauxval(AT_SECURE));
    return 0;
}
