/*
 * A program that has its memory allocated by others: it names no function of hakmem's. A linker that keeps only
 * what is needed must not leave hakmem out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

int main(void)
{
    char *copy = strdup("copied");
    if (copy == NULL || strcmp(copy, "copied") != 0)
        return 1;
    return dlsym(RTLD_DEFAULT, "hak_version") == NULL ? 2 : 0;
}
