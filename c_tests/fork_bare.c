/*
 * New processes that run no fork handlers: _Fork and the bare system call, while other threads are
 * inside malloc at that moment; and vfork, whose child shares everything.
 */
#include "check.h"

#include <signal.h>
#include <sys/syscall.h>

#define THREADS 6
#define FORKS 200

static size_t stop;

static void churn(uint64_t seed, size_t steps)
{
    uint64_t state = seed;
    unsigned char *blocks[128] = {NULL};
    size_t sizes[COUNT(blocks)] = {0}, step, i;
    for (step = 0; step < steps; step++) {
        i = next_random(&state) % COUNT(blocks);
        CHECK(pattern_holds(blocks[i], sizes[i] < 200 ? sizes[i] : 200, i), "%zu bytes", sizes[i]);
        free(blocks[i]);
        sizes[i] = random_size(&state, next_random(&state) % 30 == 0 ? 4 * MIB : 2000);
        blocks[i] = (unsigned char *)malloc(sizes[i]);
        CHECK(blocks[i] != NULL, "malloc(%zu)", sizes[i]);
        pattern_fill(blocks[i], sizes[i] < 200 ? sizes[i] : 200, i);
    }
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
}

static void *allocate(void *argument)
{
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        churn(seed += THREADS, 500);
    return NULL;
}

/* The parent's threads are gone, its locks are as they were, and every tier still works. */
__attribute__((noreturn)) static void live_as_child(void *inherited, uint64_t seed)
{
    free(inherited);
    churn(seed, 2000);
    churn(seed + 1, 2000);
    _exit(55);
}

/* The child of vfork may do nothing but exec or _exit; the parent must not notice it. */
__attribute__((noinline)) static pid_t run_true(void)
{
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(99);
    }
    CHECK(child > 0, "vfork");
    return child;
}

int main(void)
{
    pthread_t threads[THREADS];
    size_t i, forks = test_rounds(FORKS);
    for (i = 0; i < THREADS; i++)
        threads[i] = start_thread(allocate, (void *)(uintptr_t)(i + 1));
    for (i = 0; i < forks; i++) {
        void *block = malloc(1000 * i + 1);
        pid_t child = i % 2 == 0 ? _Fork() : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        int status;
        CHECK(child >= 0, "fork");
        if (child == 0)
            live_as_child(block, i);
        status = wait_for(child);
        CHECK(status == 55, "child %zu ended with %d", i, status);
        free(block);
    }
    for (i = 0; i < 50; i++) {
        void *block = malloc(64);
        int status = wait_for(run_true());
        CHECK(status == 0, "the child of vfork ended with %d", status);
        free(block);
        churn(i, 300);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    return 0;
}
