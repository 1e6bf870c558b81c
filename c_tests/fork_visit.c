/*
 * Forks while what threads have earned is taken from them. Workers take large buffers again and again, so that
 * these stay with them, and sleep. The main thread goes on with other large blocks, one instruction at a time as in
 * fork_steps.c, until one of its calls takes what the workers have. The signal handler forks at many instructions of
 * that call, by _Fork and by fork in turns. The child goes on in the middle of it, uses every tier and has its
 * structures checked; the workers, whose blocks went while they slept, go on, too.
 */
#include "life.h"
#include "stepping.h"

#define ROUNDS 3
#define WORKERS 4
#define CHILDREN 60
/* Less than half of what the workers take again and again. */
#define EARNED (8 * MIB)
/* What the main thread takes again and again. */
#define OWN 2000000
/* Instructions from one fork to the next, on average. */
#define STRIDE 100

/* Of the call that is stepped through: instructions so far, after how many it is none of the usual ones, and after
   how many to fork. */
static volatile size_t steps, unusual, fork_at;
static pid_t children[CHILDREN];
static volatile size_t n_children;
static volatile int is_child;
static uint64_t state = 5;

static size_t rounds;
static pthread_barrier_t started, worked, slept;
static volatile int is_enough;

static void on_step(int number, siginfo_t *info, void *context)
{
    pid_t child;
    (void)number;
    (void)info;
    if (++steps <= unusual || steps < fork_at || n_children == CHILDREN)
        return;
    fork_at = steps + 1 + next_random(&state) % (2 * STRIDE);
    child = n_children % 2 != 0 ? fork() : _Fork();
    if (child == 0) {
        is_child = 1;
        go_on_without_steps(context);
    } else if (child > 0) {
        children[n_children++] = child;
    }
}

static unsigned char *buffer(size_t size)
{
    unsigned char *p = (unsigned char *)launder(malloc(size));
    CHECK(p != NULL, "malloc(%zu)", size);
    stamp(p, size);
    return p;
}

static void request(void)
{
    unsigned char *p = buffer(1500000), *q = buffer(3000000);
    check_stamp(p, 1500000);
    check_stamp(q, 3000000);
    free(p);
    free(q);
}

static void *worker(void *unused)
{
    size_t round;
    for (round = 0; round < rounds; round++) {
        pthread_barrier_wait(&started);
        while (!is_enough) {
            request();
            sleep_ms(1);
        }
        pthread_barrier_wait(&worked);
        pthread_barrier_wait(&slept);
    }
    return unused;
}

__attribute__((noreturn)) static void live_as_child(void)
{
    size_t i;
    /* For its walk: a sum that is wrong may be right again later. */
    number("large_live_blocks");
    for (i = 0; i < 8; i++)
        request();
    life();
    end_of_life();
    number("large_live_blocks");
    exit(44);
}

/* Until workers may keep what they take, however seldom they get a processor. */
static void let_work(void)
{
    size_t turn, earned = 0;
    is_enough = 0;
    pthread_barrier_wait(&started);
    for (turn = 0; earned < EARNED && turn < 10000; turn++) {
        sleep_ms(10);
        earned = number("earned_bytes");
    }
    CHECK(earned >= EARNED, "%d workers have earned %zu bytes", WORKERS, earned);
    is_enough = 1;
    pthread_barrier_wait(&worked);
}

/* The main thread earns something, too: what is taken from workers is not all there is. */
static void own(void)
{
    size_t i;
    for (i = 0; i < 4; i++) {
        unsigned char *p = buffer(OWN);
        check_stamp(p, OWN);
        free(p);
    }
}

/* Frees a large block, step by step. Whether much of what workers had earned went meanwhile. */
static int step_through_free(void)
{
    size_t before;
    unsigned char *p;
    own();
    before = number("earned_bytes");
    p = buffer(1100000 + next_random(&state) % 300000);
    steps = 0;
    fork_at = 0;
    START_STEPPING();
    free(p);
    STOP_STEPPING();
    if (is_child)
        live_as_child();
    return number("earned_bytes") + EARNED / 2 <= before;
}

/* Waits for the children of the last call; how many there were. */
static size_t collect(void)
{
    size_t i, n = n_children;
    for (i = 0; i < n; i++) {
        int status = wait_for(children[i]);
        CHECK(status == 44, "child %zu of %zu ended with %d", i, n, status);
    }
    n_children = 0;
    return n;
}

/* Goes on until a call takes what the workers have: long after they began to sleep, for two looks are needed. Whether it
   was one that was stepped through. */
static int take_from_workers(void)
{
    size_t turn;
    for (turn = 0; turn < 10000 && number("earned_bytes") > EARNED / 2; turn++) {
        size_t forked;
        int is_taken = step_through_free();
        forked = collect();
        if (is_taken) {
            CHECK(forked >= 10, "%zu forks in a call of %zu instructions", forked, steps);
            return 1;
        }
        sleep_ms(20);
    }
    return 0;
}

int main(void)
{
    pthread_t threads[WORKERS];
    size_t i, least = SIZE_MAX, taken = 0;
    rounds = test_rounds(ROUNDS);
    handle_steps(on_step);
    pthread_barrier_init(&started, NULL, WORKERS + 1);
    pthread_barrier_init(&worked, NULL, WORKERS + 1);
    pthread_barrier_init(&slept, NULL, WORKERS + 1);
    unusual = SIZE_MAX;
    for (i = 0; i < 10; i++) {
        step_through_free();
        least = steps < least ? steps : least;
    }
    unusual = 2 * least;
    for (i = 0; i < WORKERS; i++)
        threads[i] = start_thread(worker, NULL);
    for (i = 0; i < rounds; i++) {
        let_work();
        taken += (size_t)take_from_workers();
        pthread_barrier_wait(&slept);
    }
    CHECK(taken > 0, "in %zu rounds nobody took what workers have that sleep", rounds);
    for (i = 0; i < WORKERS; i++)
        join_thread(threads[i]);
    CHECK(number("large_live_blocks") == 0, "%zu large blocks are left", number("large_live_blocks"));
    return 0;
}
