// control: glibc
/*
 * Every pthread key is taken before the library is opened, so that it cannot have one for itself,
 * and is not told when a thread ends. It serves all the same: threads that are older than that and
 * new ones, blocks that other threads free, and after keys have become free again. What is resident
 * does not grow with the number of threads.
 *
 * As the control, the program has plain glibc's malloc: that is the case meant. Where the library
 * is loaded already it took a key with its first malloc.
 */
#include "check.h"

#include <limits.h>

#define BLOCKS 300
#define ROUNDS 300

static void *(*hak_malloc)(size_t);
static void *(*hak_realloc)(void *, size_t);
static void (*hak_free)(void *);
static unsigned char *left[BLOCKS];
static pthread_barrier_t opened;

static uintptr_t find(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    CHECK(symbol != NULL, "dlsym: %s", dlerror());
    return (uintptr_t)symbol;
}

static size_t size_of(uint64_t seed, size_t i)
{
    uint64_t state = seed + i;
    return random_size(&state, i % 50 == 0 ? 300 * KIB : 2000);
}

/* Frees what the thread before has left, and leaves as much. */
static void *live(void *argument)
{
    static uint64_t seed_left;
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    size_t i;
    for (i = 0; i < BLOCKS; i++) {
        size_t size = size_of(seed, i), old = seed_left == 0 ? 0 : size_of(seed_left, i);
        unsigned char *block = (unsigned char *)hak_malloc(size);
        CHECK(block != NULL, "hak_malloc(%zu)", size);
        pattern_fill(block, size < 200 ? size : 200, i);
        CHECK(pattern_holds(left[i], old < 200 ? old : 200, i), "a block of %zu bytes", old);
        if (i % 3 == 0)
            left[i] = (unsigned char *)hak_realloc(left[i], old + size);
        hak_free(left[i]);
        left[i] = block;
    }
    seed_left = seed;
    return NULL;
}

static void *old_thread(void *argument)
{
    pthread_barrier_wait(&opened);
    return live(argument);
}

static void many_threads(const char *when)
{
    static uint64_t seed = 100000;
    size_t round, resident = 0;
    for (round = 0; round < ROUNDS; round++) {
        seed += BLOCKS;
        join_thread(start_thread(live, (void *)(uintptr_t)seed));
        if (round == ROUNDS / 3)
            resident = resident_kib();
    }
    CHECK(resident_kib() < resident + 8 * KIB, "resident grew from %zu to %zu KiB %s", resident,
          resident_kib(), when);
}

int main(void)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX];
    const char *path = getenv("TEST_LIBRARY");
    int loaded = on_hakmem();
    pthread_t old;
    void *library;
    size_t count = 0, i;
    if (path == NULL)
        path = loaded ? served_from("hak_version") : "libhakmem.so";
    free(launder(malloc(100)));
    pthread_barrier_init(&opened, NULL, 2);
    old = start_thread(old_thread, (void *)(uintptr_t)1);
    while (count < PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], NULL) == 0)
        count++;
    CHECK(loaded || count == PTHREAD_KEYS_MAX, "only %zu keys could be taken", count);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL, "dlopen: %s", dlerror());
    hak_malloc = (void *(*)(size_t))find(library, "hak_malloc");
    hak_realloc = (void *(*)(void *, size_t))find(library, "hak_realloc");
    hak_free = (void (*)(void *))find(library, "hak_free");

    pthread_barrier_wait(&opened);
    join_thread(old);
    many_threads("without a key");
    for (i = 0; i < count; i++)
        pthread_key_delete(keys[i]);
    many_threads("with keys again");
    live((void *)(uintptr_t)3);
    for (i = 0; i < BLOCKS; i++)
        hak_free(left[i]);
    return 0;
}
