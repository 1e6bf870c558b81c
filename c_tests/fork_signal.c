/*
 * A signal handler forks while malloc may be half-way, in the thread that it interrupts and in the
 * others. Parent and child both return from the handler, finish that malloc and go on allocating.
 */
#include "check.h"

#include <signal.h>
#include <sys/time.h>

#define FORKS 300
#define THREADS 4

static volatile sig_atomic_t forks, in_child;
static volatile sig_atomic_t failed;
static pid_t parent;
static size_t stop;
static pid_t children[FORKS];

/* _Fork is the one that POSIX lets a handler call. */
static void on_alarm(int number)
{
    int saved = errno;
    pid_t child;
    (void)number;
    if (in_child || forks >= FORKS)
        return;
    child = _Fork();
    if (child < 0)
        failed = 1;
    else if (child == 0)
        in_child = 1;
    else
        children[forks++] = child;
    errno = saved;
}

static void work(uint64_t *state, unsigned char **blocks, size_t *sizes, size_t count)
{
    size_t i = next_random(state) % count;
    CHECK(pattern_holds(blocks[i], sizes[i] < 200 ? sizes[i] : 200, i), "%zu bytes", sizes[i]);
    free(blocks[i]);
    sizes[i] = random_size(state, next_random(state) % 30 == 0 ? 2 * MIB : 2000);
    blocks[i] = (unsigned char *)malloc(sizes[i]);
    CHECK(blocks[i] != NULL, "malloc(%zu)", sizes[i]);
    pattern_fill(blocks[i], sizes[i] < 200 ? sizes[i] : 200, i);
}

static void *allocate(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument;
    unsigned char *blocks[100] = {NULL};
    size_t sizes[COUNT(blocks)] = {0}, i;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        work(&state, blocks, sizes, COUNT(blocks));
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return NULL;
}

int main(void)
{
    static unsigned char *blocks[300];
    static size_t sizes[COUNT(blocks)];
    pthread_t threads[THREADS];
    struct itimerval interval;
    struct sigaction action;
    sigset_t alarms;
    uint64_t state = 1;
    size_t i;

    parent = getpid();
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0, "sigaction");
    /* The handler runs on the main thread alone, which knows then that it became a child. */
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarms, NULL);
    for (i = 0; i < THREADS; i++)
        threads[i] = start_thread(allocate, (void *)(uintptr_t)(i + 1));
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);

    memset(&interval, 0, sizeof interval);
    interval.it_interval.tv_usec = interval.it_value.tv_usec = 2000;
    CHECK(setitimer(ITIMER_REAL, &interval, NULL) == 0, "setitimer");
    while (forks < FORKS && !in_child)
        work(&state, blocks, sizes, COUNT(blocks));
    if (in_child) {
        for (i = 0; i < 3000; i++)
            work(&state, blocks, sizes, COUNT(blocks));
        for (i = 0; i < COUNT(blocks); i++)
            free(blocks[i]);
        _exit(getpid() != parent ? 44 : 1);
    }
    memset(&interval, 0, sizeof interval);
    setitimer(ITIMER_REAL, &interval, NULL);
    CHECK(!failed, "_Fork");
    for (i = 0; i < (size_t)forks; i++) {
        int status = wait_for(children[i]);
        CHECK(status == 44, "child %zu ended with %d", i, status);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return 0;
}
