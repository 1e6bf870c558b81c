/*
 * A signal handler forks while malloc may be half-way, in the thread that it interrupts and in the
 * others, by _Fork and by fork, which runs the handlers for fork there and then. Parent and child
 * both return from the handler, finish that malloc and go on allocating. Children of fork also
 * start threads, free what the parent's other threads left, and end with exit, so that their
 * structures are looked at.
 */
#include "check.h"

#include <signal.h>
#include <sys/time.h>

#define FORKS 300
#define THREADS 4
#define LEFT 40

static volatile sig_atomic_t forks, in_child, goal;
static volatile sig_atomic_t failed;
static pid_t parent;
static size_t stop;
static pid_t *children;
static unsigned char *left[THREADS][LEFT];
static pthread_barrier_t ready;

/* _Fork is the one that POSIX lets a handler call; many programs call fork all the same. */
static void on_alarm(int number)
{
    int saved = errno;
    int plain = forks % 2;
    pid_t child;
    (void)number;
    if (in_child || forks >= goal)
        return;
    child = plain ? fork() : _Fork();
    if (child < 0)
        failed = 1;
    else if (child == 0)
        in_child = plain ? 2 : 1;
    else
        children[forks++] = child;
    errno = saved;
}

/* Of each tier, and often of those whose structures are under locks. */
static size_t some_size(uint64_t *state)
{
    switch (next_random(state) % 16) {
    case 0:
        return random_size(state, 4 * MIB);
    case 1:
    case 2:
    case 3:
        return 33 * KIB + next_random(state) % (300 * KIB);
    case 4:
        return 5000 + next_random(state) % 25000;
    default:
        return random_size(state, 2000);
    }
}

static void work(uint64_t *state, unsigned char **blocks, size_t *sizes, size_t count)
{
    size_t i = next_random(state) % count;
    CHECK(pattern_holds(blocks[i], sizes[i] < 200 ? sizes[i] : 200, i), "%zu bytes", sizes[i]);
    if (next_random(state) % 4 == 0) {
        size_t size = some_size(state);
        blocks[i] = (unsigned char *)realloc(blocks[i], size);
        CHECK(blocks[i] != NULL, "realloc to %zu", size);
        sizes[i] = sizes[i] < size ? sizes[i] : size;
        CHECK(pattern_holds(blocks[i], sizes[i] < 200 ? sizes[i] : 200, i), "realloc");
        sizes[i] = size;
    } else {
        free(blocks[i]);
        sizes[i] = some_size(state);
        blocks[i] = (unsigned char *)malloc(sizes[i]);
        CHECK(blocks[i] != NULL, "malloc(%zu)", sizes[i]);
    }
    pattern_fill(blocks[i], sizes[i] < 200 ? sizes[i] : 200, i);
}

static void *allocate(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument, i;
    uint64_t state = self + 1;
    unsigned char *blocks[100] = {NULL};
    size_t sizes[COUNT(blocks)] = {0};
    for (i = 0; i < LEFT; i++) {
        left[self][i] = (unsigned char *)malloc(100 << i % 12);
        CHECK(left[self][i] != NULL, "malloc");
        pattern_fill(left[self][i], 100, i);
    }
    pthread_barrier_wait(&ready);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        work(&state, blocks, sizes, COUNT(blocks));
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static void *live_briefly(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument;
    unsigned char *blocks[60] = {NULL};
    size_t sizes[COUNT(blocks)] = {0}, i;
    for (i = 0; i < 1500; i++)
        work(&state, blocks, sizes, COUNT(blocks));
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return NULL;
}

__attribute__((noreturn)) static void live_as_child(uint64_t *state, unsigned char **blocks,
                                                    size_t *sizes, size_t count)
{
    size_t i, owner;
    pthread_t thread = pthread_self();
    if (in_child == 2)
        thread = start_thread(live_briefly, (void *)(uintptr_t)getpid());
    for (i = 0; i < 3000; i++)
        work(state, blocks, sizes, count);
    for (owner = 0; owner < THREADS; owner++)
        for (i = 0; i < LEFT; i++) {
            CHECK(pattern_holds(left[owner][i], 100, i), "a block of a thread that is not here");
            free(left[owner][i]);
        }
    for (i = 0; i < count; i++)
        free(blocks[i]);
    CHECK(getpid() != parent, "this is no child");
    if (in_child == 2) {
        join_thread(thread);
        exit(44);
    }
    _exit(44);
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

    goal = (sig_atomic_t)test_rounds(FORKS);
    children = (pid_t *)calloc((size_t)goal, sizeof *children);
    CHECK(children != NULL, "calloc");
    parent = getpid();
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0, "sigaction");
    /* The handler runs on the main thread alone, which knows then that it became a child. */
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarms, NULL);
    pthread_barrier_init(&ready, NULL, THREADS + 1);
    for (i = 0; i < THREADS; i++)
        threads[i] = start_thread(allocate, (void *)(uintptr_t)i);
    pthread_barrier_wait(&ready);
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);

    memset(&interval, 0, sizeof interval);
    interval.it_interval.tv_usec = interval.it_value.tv_usec = 2000;
    CHECK(setitimer(ITIMER_REAL, &interval, NULL) == 0, "setitimer");
    while (forks < goal && !in_child)
        work(&state, blocks, sizes, COUNT(blocks));
    if (in_child)
        live_as_child(&state, blocks, sizes, COUNT(blocks));
    memset(&interval, 0, sizeof interval);
    setitimer(ITIMER_REAL, &interval, NULL);
    CHECK(!failed, "no child");
    for (i = 0; i < (size_t)forks; i++) {
        int status = wait_for(children[i]);
        CHECK(status == 44, "child %zu ended with %d", i, status);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    for (i = 0; i < THREADS * LEFT; i++)
        free(left[i / LEFT][i % LEFT]);
    free(children);
    return 0;
}
