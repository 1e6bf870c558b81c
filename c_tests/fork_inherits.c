/*
 * Child processes free what the threads of their parent allocated, which are not there any more, on several threads at
 * once, and use that memory again. Half of it had been freed before the fork, and its owners had not seen that. In a
 * child of such a child, too. In a child without handlers the first thread to take a lock of the library's is not the one
 * that forked, if the C library starts threads with blocks that are at hand.
 */
#include "life.h"

#define OWNERS 4
#define FREEING 3
#define EACH (12 * MIB)
#define LEAST 16
#define MOST 1024
#define MANY 60000

struct estate {
    unsigned char *blocks[MANY];
    size_t count;
};

static struct estate estates[OWNERS], again[FREEING];
static pthread_barrier_t filled, ended;

static void furnish(struct estate *estate, uint64_t seed, size_t bytes)
{
    uint64_t state = seed;
    size_t had = 0;
    for (estate->count = 0; had < bytes; estate->count++) {
        size_t size = LEAST + next_random(&state) % (MOST - LEAST);
        unsigned char *block = (unsigned char *)malloc(size);
        CHECK(block != NULL && estate->count < MANY, "malloc(%zu)", size);
        stamp(block, size);
        estate->blocks[estate->count] = block;
        had += size;
    }
}

static void *own(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument;
    furnish(&estates[self], self + 1, EACH);
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&ended);
    return NULL;
}

static void check_and_free(unsigned char **block)
{
    if (*block != NULL)
        check_stamp(*block, stamped_size(*block));
    free(*block);
    *block = NULL;
}

/* Every `step`th block. */
static void clear(struct estate *estate, size_t step)
{
    size_t k;
    for (k = 0; k < estate->count; k += step)
        check_and_free(&estate->blocks[k]);
}

/* Every so many of all blocks of owners that are gone, so that those who free meet in each slab. */
static void *free_some(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument, owner, i;
    for (owner = 0; owner < OWNERS; owner++)
        for (i = self; i < estates[owner].count; i += FREEING)
            check_and_free(&estates[owner].blocks[i]);
    return NULL;
}

static void *take_again(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument;
    furnish(&again[self], self + 100, OWNERS * EACH / FREEING);
    return NULL;
}

static void on_all(void *(*run)(void *))
{
    pthread_t threads[FREEING];
    size_t i;
    for (i = 0; i < FREEING; i++)
        threads[i] = start_thread(run, (void *)(uintptr_t)i);
    for (i = 0; i < FREEING; i++)
        join_thread(threads[i]);
}

static void *free_again(void *unused)
{
    clear(&again[0], 1);
    return unused;
}

/* Who has inherited slabs is told of what others free into them. */
static void hear_of_frees(void)
{
    size_t before, waiting;
    furnish(&again[0], 11, 4 * MIB);
    /* What waits now is in orphans, whose owner is nobody. */
    before = number("waiting_blocks");
    join_thread(start_thread(free_again, NULL));
    furnish(&again[0], 12, 4 * MIB);
    waiting = number("waiting_blocks");
    CHECK(waiting < before + 100, "%zu blocks wait for their owner, and %zu did before", waiting, before);
    free_again(NULL);
}

static void live_as_child(void)
{
    size_t all = resident_kib(), less, more, i;
    on_all(free_some);
    malloc_trim(0);
    /* Some kernels settle their counters lazily. */
    sleep_ms(50);
    less = resident_kib();
    CHECK(less + OWNERS * EACH / KIB * 3 / 4 < all, "%zu KiB were resident, and %zu when all was freed", all, less);
    on_all(take_again);
    more = resident_kib();
    CHECK(more < all + all / 8, "%zu KiB were resident, and %zu when as much was taken again", all, more);
    number("small_live_blocks");
    for (i = 0; i < FREEING; i++)
        clear(&again[i], 1);
    hear_of_frees();
    life();
    end_of_life();
    number("small_live_blocks");
}

/* In a child: threads take over, and are gone in the next one. */
static void *become_owner(void *argument)
{
    clear(&estates[(size_t)(uintptr_t)argument], 1);
    return own(argument);
}

static void run_as_child(void (*live)(void))
{
    pid_t child = fork();
    int status;
    CHECK(child >= 0, "fork");
    if (child == 0) {
        live();
        exit(33);
    }
    status = wait_for(child);
    CHECK(status == 33, "a child ended with %d", status);
}

static void with_owners(void *(*run)(void *), void (*then)(void))
{
    pthread_t owners[OWNERS];
    size_t i;
    pthread_barrier_init(&filled, NULL, OWNERS + 1);
    pthread_barrier_init(&ended, NULL, OWNERS + 1);
    for (i = 0; i < OWNERS; i++)
        owners[i] = start_thread(run, (void *)(uintptr_t)i);
    pthread_barrier_wait(&filled);
    /* Their owners, who sleep, are told of these, and do not look. */
    for (i = 0; i < OWNERS; i++)
        clear(&estates[i], 2);
    then();
    pthread_barrier_wait(&ended);
    for (i = 0; i < OWNERS; i++)
        join_thread(owners[i]);
}

static void fork_again(void)
{
    run_as_child(live_as_child);
}

static void live_with_owners(void)
{
    with_owners(become_owner, fork_again);
    live_as_child();
}

/* Frees every other block of the thread that forked, and takes as many. */
static void *live_beside(void *unused)
{
    clear(&again[0], 2);
    furnish(&again[1], 7, MIB);
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&ended);
    return unused;
}

/* The thread that forked has taken no lock when another one is there, which takes the first. */
static void fork_bare(void)
{
    pid_t child;
    size_t i, k;
    int status;
    furnish(&again[0], 8, MIB);
    pthread_barrier_init(&filled, NULL, 2);
    pthread_barrier_init(&ended, NULL, 2);
    /* At hand for who starts a thread. */
    for (k = 16; k <= 1024; k += 16)
        free(launder(malloc(k)));
    child = _Fork();
    CHECK(child >= 0, "_Fork");
    if (child == 0) {
        pthread_t beside = start_thread(live_beside, NULL);
        pthread_barrier_wait(&filled);
        furnish(&again[2], 9, MIB);
        pthread_barrier_wait(&ended);
        join_thread(beside);
        furnish(&estates[0], 10, MIB);
        number("small_live_blocks");
        for (i = 0; i < FREEING; i++)
            clear(&again[i], 1);
        clear(&estates[0], 1);
        number("small_live_blocks");
        exit(33);
    }
    status = wait_for(child);
    CHECK(status == 33, "a bare child ended with %d", status);
    clear(&again[0], 1);
}

static void fork_twice(void)
{
    run_as_child(live_as_child);
    run_as_child(live_with_owners);
}

int main(void)
{
    fork_bare();
    with_owners(own, fork_twice);
    live_as_child();
    return 0;
}
