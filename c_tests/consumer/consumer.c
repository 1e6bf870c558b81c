/* A C program that is linked with hakmem uses it under both sets of names. */
#include <hakmem.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    size_t actual = 0;
    char *block = hak_malloc_at_least(100, &actual);
    char *other = malloc(100);
    if (block == NULL || other == NULL || actual < 100 || actual != malloc_usable_size(block))
        return 1;
    memset(block, 1, actual);
    /* Each side frees what the other allocated. */
    free(block);
    hak_free(other);
    if (strcmp(hak_version(), HAKMEM_VERSION) != 0)
        return 2;
    return printf("hakmem %s\n", hak_version()) < 0;
}
