/*
 * Blocks that glibc's own malloc handed out arrive at free, realloc and malloc_usable_size: from a
 * library opened with RTLD_DEEPBIND, which finds glibc's malloc first, and from a second copy of
 * the C library in a namespace of its own.
 */
#include "check.h"

typedef void *(*malloc_function)(size_t);
typedef char *(*demangle_function)(const char *, char *, size_t *, int *);

/* In all tiers of glibc: thread cache, fast bins, bins, and mappings of their own. */
static const size_t SIZES[] = {1, 24, 100, 1000, 1032, 5000, 40000, 100000, 300000, 5 << 20};

/*
 * glibc itself takes blocks of another copy of glibc only into its thread cache, which holds seven
 * of a size and is emptied when its thread ends, and where they are mappings of their own. So this
 * is done by the main thread, and everything else by others.
 */
static const size_t EXCHANGEABLE[] = {24, 100, 1000, 5 << 20, 64 << 20};

static void check_blocks(malloc_function foreign_malloc, const size_t *sizes, size_t count,
                         size_t rounds)
{
    size_t i, j, round;
    for (i = 0; i < count; i++)
        for (round = 0; round < rounds; round++) {
            unsigned char *blocks[4];
            size_t size = sizes[i];
            for (j = 0; j < COUNT(blocks); j++) {
                blocks[j] = (unsigned char *)foreign_malloc(size);
                CHECK(blocks[j] != NULL, "the other malloc(%zu)", size);
                pattern_fill(blocks[j], size, j);
            }
            CHECK(malloc_usable_size(blocks[0]) >= size, "malloc_usable_size of %zu bytes is %zu",
                  size, malloc_usable_size(blocks[0]));
            errno = 8;
            free(blocks[0]);
            CHECK(errno == 8, "free of a foreign block changed errno");
            blocks[1] = (unsigned char *)realloc(blocks[1], size * 3);
            CHECK(blocks[1] != NULL && pattern_holds(blocks[1], size, 1), "growing %zu", size);
            pattern_fill(blocks[1], size * 3, 1);
            blocks[2] = (unsigned char *)realloc(blocks[2], size / 2 + 1);
            CHECK(blocks[2] != NULL && pattern_holds(blocks[2], size / 2 + 1, 2), "shrinking %zu",
                  size);
            CHECK(realloc(blocks[3], opaque(0)) == NULL, "realloc of a foreign block to 0");
            CHECK(pattern_holds(blocks[1], size * 3, 1), "after realloc");
            free(blocks[1]);
            free(blocks[2]);
        }
}

static void *in_thread(void *argument)
{
    check_blocks((malloc_function)(uintptr_t)argument, SIZES, COUNT(SIZES), 10);
    return NULL;
}

static void *deep_bound_library(void *unused)
{
    /* In the scope of such a library its own dependencies, and so libc, come before the preload. */
    static const char NAME[] = "_ZNSt6vectorIiSaIiEE9push_backERKi";
    int flags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND, i;
    void *library = dlopen("libstdc++.so.6", flags);
    demangle_function demangle;
    CHECK(library != NULL, "dlopen: %s", dlerror());
    demangle = (demangle_function)(uintptr_t)dlsym(library, "__cxa_demangle");
    CHECK(demangle != NULL, "dlsym: %s", dlerror());
    for (i = 0; i < 200; i++) {
        int status = 0;
        char *text = demangle(NAME, NULL, NULL, &status), *longer;
        CHECK(text != NULL && status == 0, "__cxa_demangle: %d", status);
        CHECK(strstr(text, "push_back(int const&)") != NULL, "it says %s", text);
        CHECK(malloc_usable_size(text) > strlen(text), "malloc_usable_size is %zu",
              malloc_usable_size(text));
        if (i % 2 == 0) {
            longer = (char *)realloc(text, 100000);
            CHECK(longer != NULL && strstr(longer, "push_back(int const&)") != NULL, "realloc");
            text = longer;
        }
        free(text);
    }
    dlclose(library);
    return unused;
}

int main(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD), *other, *symbol;
    CHECK(libc != NULL, "dlopen: %s", dlerror());
    symbol = dlsym(libc, "malloc");
    CHECK(symbol != NULL && symbol != dlsym(RTLD_DEFAULT, "malloc"),
          "this program's malloc is glibc's, so nothing is foreign");
    join_thread(start_thread(in_thread, symbol));
    join_thread(start_thread(deep_bound_library, NULL));

    other = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
    CHECK(other != NULL, "dlmopen: %s", dlerror());
    symbol = dlsym(other, "malloc");
    CHECK(symbol != NULL, "dlsym: %s", dlerror());
    check_blocks((malloc_function)(uintptr_t)symbol, EXCHANGEABLE, COUNT(EXCHANGEABLE), 1);
    return 0;
}
