// control: glibc
/*
 * 2,000 threads at once, each with live blocks in several tiers, which are then freed by the thread
 * next to it; then 64 of them exit in the same moment, many times over.
 */
#include "check.h"

#define THREADS 2000
#define BLOCKS 60

static pthread_barrier_t all_here, filled, turned;
static unsigned char *blocks[THREADS][BLOCKS];

static size_t size_of(size_t thread, size_t i)
{
    uint64_t state = thread * BLOCKS + i;
    return random_size(&state, i == 0 ? 100000 : 1200);
}

static void *live(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument, next = (self + 1) % THREADS, i;
    pthread_barrier_wait(&all_here);
    for (i = 0; i < BLOCKS; i++) {
        blocks[self][i] = (unsigned char *)malloc(size_of(self, i));
        CHECK(blocks[self][i] != NULL, "thread %zu: malloc(%zu)", self, size_of(self, i));
        pattern_fill(blocks[self][i], size_of(self, i), self);
    }
    pthread_barrier_wait(&filled);
    for (i = 0; i < BLOCKS; i++) {
        CHECK(pattern_holds(blocks[next][i], size_of(next, i), next), "a block of thread %zu",
              next);
        free(blocks[next][i]);
    }
    /* Nobody leaves before all remote frees are done, so each owner has some to collect. */
    pthread_barrier_wait(&turned);
    for (i = 0; i < BLOCKS; i++)
        free(launder(malloc(size_of(self, i))));
    return NULL;
}

static void start_all(pthread_t *threads, size_t count, void *(*run)(void *))
{
    pthread_attr_t attributes;
    size_t i;
    CHECK(pthread_attr_init(&attributes) == 0, "pthread_attr_init");
    CHECK(pthread_attr_setstacksize(&attributes, 128 * KIB) == 0, "pthread_attr_setstacksize");
    for (i = 0; i < count; i++) {
        int error = pthread_create(&threads[i], &attributes, run, (void *)(uintptr_t)i);
        CHECK(error == 0, "thread %zu: %s", i, strerror(error));
    }
    pthread_attr_destroy(&attributes);
}

static void *exit_together(void *argument)
{
    void *mine = launder(malloc(300 + (size_t)(uintptr_t)argument));
    CHECK(mine != NULL, "malloc");
    free(mine);
    pthread_barrier_wait(&all_here);
    return NULL;
}

int main(void)
{
    static pthread_t threads[THREADS];
    size_t i, round;
    pthread_barrier_init(&all_here, NULL, THREADS);
    pthread_barrier_init(&filled, NULL, THREADS);
    pthread_barrier_init(&turned, NULL, THREADS);
    start_all(threads, THREADS, live);
    for (i = 0; i < THREADS; i++)
        join_thread(threads[i]);

    pthread_barrier_destroy(&all_here);
    pthread_barrier_init(&all_here, NULL, 64);
    for (round = 0; round < 100; round++) {
        start_all(threads, 64, exit_together);
        for (i = 0; i < 64; i++)
            join_thread(threads[i]);
    }
    return 0;
}
