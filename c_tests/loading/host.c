/*
 * A program with two plugins that each bring hakmem along (plugin.c), linked with it (LINKED) or
 * opened while threads are running. Their blocks, and those of the plain malloc, go through the
 * hands of all threads, and of the other plugin where both have the same hakmem (TEST_CROSS). Plugins
 * that were opened are closed again, and really go; threads that used them end after that.
 */
#include "../check.h"

#define THREADS 6
#define BLOCKS 400

typedef void *(*make_function)(size_t);
typedef void (*drop_function)(void *);

struct plugin {
    make_function make, make_plain;
    drop_function drop, drop_plain;
};

static struct plugin plugins[2];
static pthread_barrier_t opened, used, closed;

static size_t size_of(size_t i)
{
    uint64_t state = i;
    return random_size(&state, i % 20 == 0 ? 2 * MIB : 3000);
}

static void use(size_t seed)
{
    int cross = getenv("TEST_CROSS") != NULL;
    unsigned char *blocks[2][BLOCKS], *plain[BLOCKS];
    size_t i, of;
    for (i = 0; i < BLOCKS; i++) {
        size_t size = size_of(seed + i);
        for (of = 0; of < 2; of++) {
            blocks[of][i] = (unsigned char *)plugins[of].make(size);
            CHECK(blocks[of][i] != NULL, "plugin %zu: %zu bytes", of, size);
            pattern_fill(blocks[of][i], size < 100 ? size : 100, i + of);
        }
        plain[i] = (unsigned char *)plugins[i % 2].make_plain(size);
        CHECK(plain[i] != NULL, "malloc(%zu)", size);
        pattern_fill(plain[i], size < 100 ? size : 100, i);
    }
    for (i = 0; i < BLOCKS; i++) {
        size_t size = size_of(seed + i) < 100 ? size_of(seed + i) : 100;
        for (of = 0; of < 2; of++) {
            CHECK(pattern_holds(blocks[of][i], size, i + of), "plugin %zu", of);
            plugins[cross ? 1 - of : of].drop(blocks[of][i]);
        }
        CHECK(pattern_holds(plain[i], size, i), "malloc");
        if (i % 3 == 0)
            free(plain[i]);
        else
            plugins[1 - i % 2].drop_plain(plain[i]);
    }
}

static void *old_thread(void *argument)
{
    free(launder(malloc(100)));
    pthread_barrier_wait(&opened);
    use((size_t)(uintptr_t)argument);
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&closed);
    return NULL;
}

static void *new_thread(void *argument)
{
    use((size_t)(uintptr_t)argument);
    return NULL;
}

#ifdef LINKED
extern void *one_make(size_t), *two_make(size_t), *one_make_plain(size_t), *two_make_plain(size_t);
extern void one_drop(void *), two_drop(void *), one_drop_plain(void *), two_drop_plain(void *);

static void find_plugins(void **libraries, char **paths)
{
    (void)libraries;
    (void)paths;
    plugins[0] = (struct plugin){one_make, one_make_plain, one_drop, one_drop_plain};
    plugins[1] = (struct plugin){two_make, two_make_plain, two_drop, two_drop_plain};
}

static void close_plugins(void **libraries, char **paths)
{
    (void)libraries;
    (void)paths;
}
#else
static uintptr_t find(void *library, const char *plugin, const char *name)
{
    char text[64];
    void *symbol;
    snprintf(text, sizeof text, "%s_%s", plugin, name);
    symbol = dlsym(library, text);
    CHECK(symbol != NULL, "dlsym: %s", dlerror());
    return (uintptr_t)symbol;
}

static void find_plugins(void **libraries, char **paths)
{
    static const char *const NAMES[] = {"one", "two"};
    size_t of;
    for (of = 0; of < 2; of++) {
        libraries[of] = dlopen(paths[of], RTLD_NOW | RTLD_LOCAL);
        CHECK(libraries[of] != NULL, "dlopen: %s", dlerror());
        plugins[of].make = (make_function)find(libraries[of], NAMES[of], "make");
        plugins[of].drop = (drop_function)find(libraries[of], NAMES[of], "drop");
        plugins[of].make_plain = (make_function)find(libraries[of], NAMES[of], "make_plain");
        plugins[of].drop_plain = (drop_function)find(libraries[of], NAMES[of], "drop_plain");
    }
}

static void close_plugins(void **libraries, char **paths)
{
    size_t of;
    for (of = 0; of < 2; of++) {
        CHECK(dlclose(libraries[of]) == 0, "dlclose: %s", dlerror());
        CHECK(dlopen(paths[of], RTLD_NOW | RTLD_NOLOAD) == NULL, "%s has not gone", paths[of]);
    }
}
#endif

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    void *libraries[2];
    size_t i;
    CHECK(count == 3, "usage: host PLUGIN PLUGIN");
    pthread_barrier_init(&opened, NULL, THREADS + 1);
    pthread_barrier_init(&used, NULL, THREADS + 1);
    pthread_barrier_init(&closed, NULL, THREADS + 1);
    for (i = 0; i < THREADS; i++)
        threads[i] = start_thread(old_thread, (void *)(uintptr_t)(i * BLOCKS));
    find_plugins(libraries, arguments + 1);
    pthread_barrier_wait(&opened);
    use(77);
    for (i = 0; i < 20; i++)
        join_thread(start_thread(new_thread, (void *)(uintptr_t)(i * 5)));
    /* Nobody is inside a plugin from here on, but several threads have used both, and end when both are
       gone. None may end just while one goes: its destructor runs plugin code. */
    pthread_barrier_wait(&used);
    close_plugins(libraries, arguments + 1);
    pthread_barrier_wait(&closed);
    for (i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    free(launder(malloc(1000)));
    return 0;
}
