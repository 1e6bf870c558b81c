/* A library that allocates in its constructor, and gives the block to whoever asks. */
#include <stdlib.h>
#include <string.h>

static char *early;

__attribute__((constructor)) static void allocate(void)
{
    char *other = malloc(70000);
    early = calloc(1, 100);
    if (early == NULL || other == NULL)
        abort();
    strcpy(early, "from before main");
    free(other);
}

char *take_early_block(void)
{
    char *block = early;
    early = NULL;
    return block;
}
