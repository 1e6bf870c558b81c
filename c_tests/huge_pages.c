/*
 * Where the system gives huge pages to who has not asked, what is not known to be worth one refuses them: a program is
 * as small there as elsewhere. And nothing is refused where there is nothing to refuse.
 */
#include "check.h"

#include <inttypes.h>

#define ENABLED "/sys/kernel/mm/transparent_hugepage/enabled"

/* The flags that the kernel has for the mapping around an address. */
static void flags_of(const void *at, char *flags, size_t room)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[1000];
    int inside = 0, found = 0;
    CHECK(maps != NULL, "/proc/self/smaps");
    while (!found && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            inside = (uintptr_t)at >= from && (uintptr_t)at < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            CHECK(strlen(line) < room, "the flags are %s", line);
            strcpy(flags, line);
            found = 1;
        }
    }
    CHECK(found, "no flags of %p", at);
    fclose(maps);
}

static void is_refused(int unasked, const char *what, char *block)
{
    char flags[1000];
    CHECK(block != NULL, "%s", what);
    block[0] = 1;
    flags_of(block, flags, sizeof flags);
    CHECK((strstr(flags, " nh") != NULL) == unasked, "%s: huge pages come unasked: %d; %s", what, unasked, flags);
}

int main(void)
{
    char text[100] = "", *grown = (char *)malloc(40 * KIB);
    FILE *file = fopen(ENABLED, "r");
    int unasked;
    size_t size;
    /* Without huge pages in the kernel nobody can refuse any. */
    if (file == NULL || fgets(text, sizeof text, file) == NULL)
        return 0;
    fclose(file);
    unasked = strstr(text, "[always]") != NULL;
    is_refused(unasked, "a small block", (char *)launder(malloc(100)));
    is_refused(unasked, "a run of pages", (char *)launder(malloc(200 * KIB)));
    is_refused(unasked, "a mapping", (char *)launder(malloc(1500 * KIB)));
    is_refused(unasked, "a large block that may stay zero", (char *)launder(calloc(1, 24 * MIB)));
    is_refused(unasked, "an aligned one", (char *)launder(aligned_alloc(2 * MIB, 2 * MIB - 4096)));
    for (size = 40 * KIB; size <= 20 * MIB; size *= 2) {
        CHECK(grown != NULL, "realloc(%zu)", size);
        grown = (char *)realloc(grown, size);
        is_refused(unasked, "a buffer that grows", grown);
    }
    return 0;
}
