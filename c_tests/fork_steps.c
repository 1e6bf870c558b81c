/*
 * Forks after any instruction of malloc, realloc and free, and of a thread's end: the processor stops after
 * each one, and the signal handler forks at some of them, by _Fork and by fork in turns, while other
 * threads are wherever they are in the allocator. The child goes on in the middle of that call, then
 * uses every tier, frees what threads that it does not have have left, and has its structures checked
 * at exit.
 */
#include "check.h"
#include "stepping.h"

#define ROUNDS 60
#define THREADS 3
#define LEFT 30

static pid_t parent;
static size_t stop;
static unsigned char *left[THREADS][LEFT];
static pthread_barrier_t ready;

/* Of the thread that steps: instructions so far, and the number of that after which to fork. */
static volatile size_t steps, fork_at;
static volatile int plain;
static pthread_key_t last;
static char rounds_left[2];

/* In the parent the child, in the child 0. */
static volatile pid_t child;

static void on_step(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    if (++steps != fork_at)
        return;
    child = plain ? fork() : _Fork();
    if (child == 0)
        go_on_without_steps(context);
}

static inline void start_stepping(size_t until)
{
    steps = 0;
    fork_at = until;
    START_STEPPING();
}

static inline void stop_stepping(void)
{
    STOP_STEPPING();
}

/* Mostly of those tiers whose structures are under locks. */
static size_t some_size(uint64_t *state)
{
    switch (next_random(state) % 8) {
    case 0:
        return 1200 * KIB + next_random(state) % (2 * MIB);
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
    CHECK(pattern_holds(blocks[i], sizes[i] < 100 ? sizes[i] : 100, i), "%zu bytes", sizes[i]);
    free(blocks[i]);
    sizes[i] = some_size(state);
    blocks[i] = (unsigned char *)malloc(sizes[i]);
    CHECK(blocks[i] != NULL, "malloc(%zu)", sizes[i]);
    pattern_fill(blocks[i], sizes[i] < 100 ? sizes[i] : 100, i);
}

static void *allocate(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument, i;
    uint64_t state = self + 1;
    unsigned char *blocks[60] = {NULL};
    size_t sizes[COUNT(blocks)] = {0};
    for (i = 0; i < LEFT; i++) {
        left[self][i] = (unsigned char *)malloc(100 << i % 12);
        CHECK(left[self][i] != NULL, "malloc");
        pattern_fill(left[self][i], 100, i);
    }
    pthread_barrier_wait(&ready);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        for (i = 0; i < 50; i++)
            work(&state, blocks, sizes, COUNT(blocks));
        /* Or the thread that steps hardly gets a turn on a machine with few cores. */
        usleep(200);
    }
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static void free_what_is_left(void)
{
    size_t i;
    for (i = 0; i < THREADS * LEFT; i++) {
        CHECK(pattern_holds(left[i / LEFT][i % LEFT], 100, i % LEFT), "a block of another thread");
        free(left[i / LEFT][i % LEFT]);
    }
}

__attribute__((noreturn)) static void live_as_child(uint64_t *state, unsigned char **blocks,
                                                    size_t *sizes, size_t count)
{
    size_t i;
    for (i = 0; i < 200; i++)
        work(state, blocks, sizes, count);
    free_what_is_left();
    for (i = 0; i < count; i++) {
        CHECK(pattern_holds(blocks[i], sizes[i] < 100 ? sizes[i] : 100, i), "%zu bytes", sizes[i]);
        free(blocks[i]);
    }
    malloc_trim(0);
    CHECK(getpid() != parent, "this is no child");
    exit(44);
}

static void end(pid_t process, int expected)
{
    int status = wait_for(process);
    CHECK(status == expected, "a child ended with %d", status);
}

/* Has a block the size that it had before, or none. */
static void set_back(unsigned char **blocks, size_t *sizes, size_t i, size_t before)
{
    free(blocks[i]);
    blocks[i] = before > 0 ? (unsigned char *)malloc(before) : NULL;
    CHECK(before == 0 || blocks[i] != NULL, "malloc(%zu)", before);
    sizes[i] = before;
    pattern_fill(blocks[i], before < 100 ? before : 100, i);
}

/* Steps through one call of malloc, realloc or free; forks at a random instruction of it. */
static void step_through_call(uint64_t *state, unsigned char **blocks, size_t *sizes, size_t count)
{
    size_t i = next_random(state) % count, all, round;
    size_t size = some_size(state);
    size_t before = sizes[i];
    int resizes = next_random(state) % 3 == 0;
    /* The first time only counts; the number differs a little the second time. */
    for (round = 0, all = 1; round < 2; round++) {
        size_t until = round == 0 ? 0 : 1 + next_random(state) % all;
        child = -1;
        if (resizes) {
            unsigned char *block = blocks[i];
            size_t kept = before < size ? before : size;
            blocks[i] = NULL;
            sizes[i] = 0;
            start_stepping(until);
            block = (unsigned char *)realloc(block, size);
            stop_stepping();
            CHECK(block != NULL, "realloc to %zu", size);
            CHECK(pattern_holds(block, kept < 100 ? kept : 100, i), "%zu bytes", kept);
            blocks[i] = block;
            sizes[i] = size;
            pattern_fill(blocks[i], size < 100 ? size : 100, i);
            if (round == 0)
                set_back(blocks, sizes, i, before);
        } else if (next_random(state) % 2 == 0 || blocks[i] == NULL) {
            unsigned char *block;
            start_stepping(until);
            block = (unsigned char *)malloc(size);
            stop_stepping();
            CHECK(block != NULL, "malloc(%zu)", size);
            free(blocks[i]);
            blocks[i] = block;
            sizes[i] = size;
            pattern_fill(blocks[i], size < 100 ? size : 100, i);
        } else {
            unsigned char *block = blocks[i];
            CHECK(pattern_holds(block, sizes[i] < 100 ? sizes[i] : 100, i), "%zu bytes", sizes[i]);
            blocks[i] = NULL;
            sizes[i] = 0;
            start_stepping(until);
            free(block);
            stop_stepping();
        }
        all = steps;
        if (child == 0)
            live_as_child(state, blocks, sizes, count);
        if (child > 0)
            end(child, 44);
    }
}

/* In the second round of destructors, the allocator's has run: after it, signals will be blocked. */
static void end_stepping(void *round)
{
    if (round == &rounds_left[0])
        CHECK(pthread_setspecific(last, &rounds_left[1]) == 0, "pthread_setspecific");
    else
        stop_stepping();
}

/* Steps through its own end: the destructor of the allocator's key, too. */
static void *end_step_by_step(void *argument)
{
    uint64_t state = *(uint64_t *)argument;
    void *blocks[12];
    size_t i;
    for (i = 0; i < COUNT(blocks); i++)
        blocks[i] = launder(malloc(some_size(&state)));
    for (i = 0; i < COUNT(blocks) - 4; i++)
        free(blocks[i]);
    free(left[0][0]);
    left[0][0] = (unsigned char *)malloc(100);
    CHECK(left[0][0] != NULL, "malloc");
    pattern_fill(left[0][0], 100, 0);
    CHECK(pthread_setspecific(last, &rounds_left[0]) == 0, "pthread_setspecific");
    start_stepping(fork_at);
    return NULL;
}

static void step_through_an_end(uint64_t *state)
{
    static size_t all = 20000;
    uint64_t seed = next_random(state);
    child = -1;
    fork_at = 1 + next_random(state) % all;
    join_thread(start_thread(end_step_by_step, &seed));
    all = steps;
    /* The child's only thread ends, and with it the process. */
    if (child > 0)
        end(child, 0);
}

int main(void)
{
    static unsigned char *blocks[100];
    static size_t sizes[COUNT(blocks)];
    pthread_t threads[THREADS];
    uint64_t state = 7;
    size_t i, rounds = test_rounds(ROUNDS);

    parent = getpid();
    handle_steps(on_step);
    CHECK(pthread_key_create(&last, end_stepping) == 0, "pthread_key_create");
    pthread_barrier_init(&ready, NULL, THREADS + 1);
    for (i = 0; i < THREADS; i++)
        threads[i] = start_thread(allocate, (void *)(uintptr_t)i);
    pthread_barrier_wait(&ready);
    for (i = 0; i < 2000; i++)
        work(&state, blocks, sizes, COUNT(blocks));
    for (i = 0; i < rounds; i++) {
        plain = i % 2 != 0;
        if (i % 8 == 7)
            step_through_an_end(&state);
        else
            step_through_call(&state, blocks, sizes, COUNT(blocks));
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    free_what_is_left();
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return 0;
}
