// control: glibc
/*
 * 8 threads allocate while 4 others fork in a loop, 1,000 times in all; each child allocates in
 * every tier, prints, frees blocks of threads that it does not have, starts a thread of its own and
 * exits, while a ninth thread keeps the locks of stdio busy. Nothing hangs and nothing is lost.
 */
#include "check.h"

#define ALLOCATING 8
#define FORKING 4
#define ROUNDS 1000
#define LEFT 64

static size_t stop;
static FILE *sink;

/* Blocks of the allocating threads, fixed before the first fork, for children to free. */
static unsigned char *left[ALLOCATING][LEFT];
static pthread_barrier_t ready;

static size_t left_size(size_t i)
{
    static const size_t SIZES[] = {16, 100, 1000, 5000, 40000, 200000, 600000, 3 << 20};
    return SIZES[i % COUNT(SIZES)];
}

static void *allocate(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument, i, step = 0;
    uint64_t state = self;
    unsigned char *blocks[200] = {NULL};
    size_t sizes[COUNT(blocks)] = {0};
    for (i = 0; i < LEFT; i++) {
        left[self][i] = (unsigned char *)malloc(left_size(i));
        CHECK(left[self][i] != NULL, "malloc");
        pattern_fill(left[self][i], left_size(i) < 4096 ? left_size(i) : 4096, i);
    }
    pthread_barrier_wait(&ready);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        i = next_random(&state) % COUNT(blocks);
        CHECK(pattern_holds(blocks[i], sizes[i] < 256 ? sizes[i] : 256, i), "in the parent");
        free(blocks[i]);
        sizes[i] = random_size(&state, next_random(&state) % 50 == 0 ? 2 * MIB : 3000);
        blocks[i] = (unsigned char *)malloc(sizes[i]);
        CHECK(blocks[i] != NULL, "malloc in the parent");
        pattern_fill(blocks[i], sizes[i] < 256 ? sizes[i] : 256, i);
        /* Or the forking threads hardly get a turn on a machine with few cores. */
        if (++step % 200 == 0)
            usleep(200);
    }
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static void *print(void *unused)
{
    size_t line = 0;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        fprintf(sink, "line %zu from the parent, %f\n", line, 3.25);
        if (++line % 200 == 0)
            usleep(200);
    }
    return unused;
}

static void *in_child_thread(void *argument)
{
    unsigned char *block = (unsigned char *)malloc(2500);
    CHECK(block != NULL, "malloc in a child's thread");
    memset(block, 1, 2500);
    free(argument);
    return block;
}

__attribute__((noreturn)) static void live_as_child(uint64_t seed)
{
    uint64_t state = seed;
    unsigned char *blocks[150];
    size_t sizes[COUNT(blocks)], i, owner;
    for (i = 0; i < COUNT(blocks); i++) {
        sizes[i] = random_size(&state, i % 20 == 0 ? 2 * MIB : 3000);
        blocks[i] = (unsigned char *)malloc(sizes[i]);
        CHECK(blocks[i] != NULL, "malloc in a child");
        pattern_fill(blocks[i], sizes[i] < 4096 ? sizes[i] : 4096, i);
    }
    for (owner = seed % 2; owner < ALLOCATING; owner += 2)
        for (i = 0; i < LEFT; i++) {
            CHECK(pattern_holds(left[owner][i], left_size(i) < 4096 ? left_size(i) : 4096, i),
                  "a block of a thread that this child does not have");
            if (i % 3 == 0) {
                left[owner][i] = (unsigned char *)realloc(left[owner][i], left_size(i) * 2);
                CHECK(left[owner][i] != NULL, "realloc in a child");
            }
            free(left[owner][i]);
        }
    CHECK(fprintf(sink, "child %d with %g\n", (int)getpid(), 1.5) > 0, "fprintf in a child");
    CHECK(fflush(sink) == 0, "fflush in a child");
    free(join_thread(start_thread(in_child_thread, malloc(123))));
    for (i = 0; i < COUNT(blocks); i++) {
        CHECK(pattern_holds(blocks[i], sizes[i] < 4096 ? sizes[i] : 4096, i), "in a child");
        free(blocks[i]);
    }
    /* Every fifth ends as a program does, with exit handlers. */
    if (seed % 5 == 0)
        exit(33);
    _exit(33);
}

static void *fork_often(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument, i, forks = test_rounds(ROUNDS) / FORKING;
    for (i = 0; i < forks; i++) {
        void *before = malloc(500);
        pid_t child = fork();
        int status;
        CHECK(child >= 0, "fork");
        if (child == 0)
            live_as_child(self * forks + i + 1);
        status = wait_for(child);
        CHECK(status == 33, "child %zu of thread %zu ended with %d", i, self, status);
        free(before);
    }
    return NULL;
}

int main(void)
{
    pthread_t allocating[ALLOCATING], forking[FORKING], printing;
    size_t i;
    sink = fopen("/dev/null", "w");
    CHECK(sink != NULL, "fopen");
    pthread_barrier_init(&ready, NULL, ALLOCATING + 1);
    for (i = 0; i < ALLOCATING; i++)
        allocating[i] = start_thread(allocate, (void *)(uintptr_t)i);
    pthread_barrier_wait(&ready);
    printing = start_thread(print, NULL);
    for (i = 0; i < FORKING; i++)
        forking[i] = start_thread(fork_often, (void *)(uintptr_t)i);
    for (i = 0; i < FORKING; i++)
        join_thread(forking[i]);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < ALLOCATING; i++)
        join_thread(allocating[i]);
    join_thread(printing);
    fclose(sink);
    return 0;
}
