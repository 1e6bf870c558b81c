// control: glibc
/*
 * A running program opens the library with dlopen, with threads that are older than that, and uses
 * hak_* through dlsym beside the malloc that it has; it closes it, and threads that used it end.
 * As the control, the program has plain glibc's malloc: that is the case meant. Where the library
 * is loaded already, dlopen finds the same one, and both APIs are one.
 */
#include "check.h"

#define OLD_THREADS 4
#define BLOCKS 3000

static void *(*hak_malloc)(size_t);
static void *(*hak_calloc)(size_t, size_t);
static void *(*hak_realloc)(void *, size_t);
static void (*hak_free)(void *);
static size_t (*hak_usable_size)(void *);
static const char *(*hak_version)(void);

static pthread_barrier_t opened, closed;

static uintptr_t find(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    CHECK(symbol != NULL, "dlsym: %s", dlerror());
    return (uintptr_t)symbol;
}

static void use(uint64_t seed)
{
    static _Thread_local unsigned char *blocks[BLOCKS];
    uint64_t state = seed;
    size_t i;
    for (i = 0; i < BLOCKS; i++) {
        size_t size = random_size(&state, i % 100 == 0 ? 3 * MIB : 3000);
        void *own = launder(malloc(size));
        blocks[i] = (unsigned char *)(i % 2 == 0 ? hak_malloc(size) : hak_calloc(1, size));
        CHECK(blocks[i] != NULL && own != NULL, "hak_malloc(%zu)", size);
        CHECK(i % 2 == 0 || all_zero(blocks[i], size), "hak_calloc(1, %zu)", size);
        CHECK(is_aligned(blocks[i], 16) && hak_usable_size(blocks[i]) >= size, "hak_malloc(%zu)",
              size);
        pattern_fill(blocks[i], size < 200 ? size : 200, i);
        if (i % 7 == 0) {
            blocks[i] = (unsigned char *)hak_realloc(blocks[i], size + 200);
            CHECK(blocks[i] != NULL, "hak_realloc(%zu)", size);
        }
        free(own);
    }
    state = seed;
    for (i = 0; i < BLOCKS; i++) {
        size_t size = random_size(&state, i % 100 == 0 ? 3 * MIB : 3000);
        CHECK(pattern_holds(blocks[i], size < 200 ? size : 200, i), "block %zu", i);
        hak_free(blocks[i]);
    }
}

static void *old_thread(void *argument)
{
    free(launder(malloc(100)));
    pthread_barrier_wait(&opened);
    use((uint64_t)(uintptr_t)argument);
    pthread_barrier_wait(&closed);
    /* Its end still needs the library's code, although the handle has been closed. */
    return NULL;
}

static void *new_thread(void *argument)
{
    use((uint64_t)(uintptr_t)argument);
    return NULL;
}

int main(void)
{
    const char *path = getenv("TEST_LIBRARY");
    pthread_t threads[OLD_THREADS];
    void *library, *block;
    size_t i;
    if (path == NULL)
        path = on_hakmem() ? served_from("hak_version") : "libhakmem.so";
    pthread_barrier_init(&opened, NULL, OLD_THREADS + 1);
    pthread_barrier_init(&closed, NULL, OLD_THREADS + 1);
    for (i = 0; i < OLD_THREADS; i++)
        threads[i] = start_thread(old_thread, (void *)(uintptr_t)(i + 1));

    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL, "dlopen: %s", dlerror());
    hak_malloc = (void *(*)(size_t))find(library, "hak_malloc");
    hak_calloc = (void *(*)(size_t, size_t))find(library, "hak_calloc");
    hak_realloc = (void *(*)(void *, size_t))find(library, "hak_realloc");
    hak_free = (void (*)(void *))find(library, "hak_free");
    hak_usable_size = (size_t(*)(void *))find(library, "hak_usable_size");
    hak_version = (const char *(*)(void))find(library, "hak_version");
    CHECK(strchr(hak_version(), '.') != NULL, "version %s", hak_version());

    pthread_barrier_wait(&opened);
    use(77);
    for (i = 0; i < 8; i++)
        join_thread(start_thread(new_thread, (void *)(uintptr_t)(i + 100)));
    if (on_hakmem()) {
        /* One library: its two sets of names share their blocks. */
        block = malloc(1000);
        hak_free(block);
        block = hak_malloc(1000);
        free(block);
    }
    block = hak_malloc(5000);
    CHECK(block != NULL, "hak_malloc");
    pattern_fill(block, 5000, 6);
    CHECK(dlclose(library) == 0, "dlclose: %s", dlerror());
    /* The threads below, and this block, outlive the handle: the library may not go away. */
    CHECK(dlopen(path, RTLD_NOW | RTLD_NOLOAD) != NULL, "dlclose has unloaded the library");
    CHECK(pattern_holds(block, 5000, 6), "a block changed with dlclose");
    hak_free(block);
    pthread_barrier_wait(&closed);
    for (i = 0; i < OLD_THREADS; i++)
        join_thread(threads[i]);
    return 0;
}
