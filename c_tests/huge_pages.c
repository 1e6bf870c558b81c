/*
 * Where the system gives huge pages to programs that have not asked, small blocks refuse them, so that a program is as
 * small there as elsewhere. Those of 32 MiB and more do not. And nothing is refused where there is nothing to refuse.
 */
#include "check.h"

#include <inttypes.h>

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

/* Whether huge pages come unasked. */
static int unasked;

static int is_refused(const char *what, char *block)
{
    char flags[1000];
    CHECK(block != NULL, "%s", what);
    block[0] = 1;
    flags_of(block, flags, sizeof flags);
    CHECK(unasked || strstr(flags, " nh") == NULL, "%s refuses what would not come; %s", what, flags);
    return strstr(flags, " nh") != NULL;
}

static void must_be_refused(const char *what, char *block)
{
    CHECK(is_refused(what, block) == unasked, "%s does not refuse huge pages", what);
}

static void may_come(const char *what, char *block)
{
    CHECK(!is_refused(what, block), "%s refuses huge pages", what);
}

int main(void)
{
    char *grown = (char *)malloc(40 * KIB);
    size_t size;
    unasked = huge_pages_come_unasked();
    /* Without huge pages in the kernel nobody can refuse any. */
    if (unasked < 0)
        return 0;
    must_be_refused("a small block", (char *)launder(malloc(100)));
    must_be_refused("a run of pages", (char *)launder(malloc(200 * KIB)));
    must_be_refused("a mapping", (char *)launder(malloc(1500 * KIB)));
    must_be_refused("a zeroed one", (char *)launder(calloc(1, 24 * MIB)));
    may_come("a large block", (char *)launder(malloc(100 * MIB)));
    may_come("a large zeroed block", (char *)launder(calloc(1, 100 * MIB)));
    for (size = 40 * KIB; size <= 200 * MIB; size *= 2) {
        CHECK(grown != NULL, "realloc(%zu)", size);
        grown = (char *)realloc(grown, size);
        if (size < 32 * MIB)
            must_be_refused("a buffer that grows", grown);
        else
            may_come("a buffer that has grown far", grown);
    }
    return 0;
}
