// control: glibc
/* No success changes errno, and free never does. */
#include "allocators.h"

#define MARK 4321

static void check_free(void *block, const char *what, size_t size)
{
    errno = MARK;
    free(block);
    CHECK(errno == MARK, "free of %zu bytes of %s changed errno", size, what);
}

static void *all_functions(void *unused)
{
    size_t sizes[400], count = border_sizes(64 * MIB, sizes, COUNT(sizes)), i, j;
    for (i = 0; i < count; i++)
        for (j = 0; j < COUNT(ALLOCATORS); j++) {
            void *block, *moved;
            errno = MARK;
            block = ALLOCATORS[j].allocate(sizes[i]);
            CHECK(block != NULL, "%s of %zu", ALLOCATORS[j].name, sizes[i]);
            CHECK(errno == MARK, "%s of %zu changed errno", ALLOCATORS[j].name, sizes[i]);
            CHECK(malloc_usable_size(block) >= sizes[i] && errno == MARK, "malloc_usable_size");
            *(char *)block = 1;
            moved = realloc(block, sizes[i] * 2);
            CHECK(moved != NULL && errno == MARK, "realloc of %zu bytes to twice", sizes[i]);
            block = realloc(moved, sizes[i] / 2 + 1);
            CHECK(block != NULL && errno == MARK, "realloc of %zu bytes to half", sizes[i]);
            check_free(block, ALLOCATORS[j].name, sizes[i]);
        }
    return unused;
}

static void *free_all(void *argument)
{
    void **blocks = (void **)argument;
    for (; *blocks != NULL; blocks++)
        check_free(*blocks, "another thread", malloc_usable_size(*blocks));
    return NULL;
}

int main(void)
{
    static const size_t SIZES[] = {1, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    void *blocks[COUNT(SIZES) + 1] = {NULL}, *gone;
    size_t i;

    errno = MARK;
    free(NULL);
    CHECK(errno == MARK, "free(NULL) changed errno");
    CHECK(malloc_usable_size(NULL) == 0 && errno == MARK, "malloc_usable_size(NULL)");

    all_functions(NULL);
    /* A new thread has to build its heap first, on the way. */
    join_thread(start_thread(all_functions, NULL));

    for (i = 0; i < COUNT(SIZES); i++)
        CHECK((blocks[i] = malloc(SIZES[i])) != NULL, "malloc(%zu)", SIZES[i]);
    join_thread(start_thread(free_all, blocks));

    gone = launder(malloc(50));
    errno = MARK;
    CHECK(realloc(gone, opaque(0)) == NULL, "realloc to nothing");
    CHECK(errno == MARK, "realloc to nothing changed errno");
    return 0;
}
