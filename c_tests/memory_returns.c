/*
 * What a program frees goes back to the operating system, without a timer, a background thread or
 * a call of malloc_trim: 512 MiB of mixed small blocks, 512 MiB of large ones, and most of a heap of
 * which every page still held something.
 */
#include "check.h"

/* In KiB: what stays warm for the next malloc, with the program and its libraries. */
#define REST (24 * KIB)

struct block {
    unsigned char *bytes;
    size_t size;
};

static struct block *blocks;
static size_t count;

static void fill(size_t live, size_t (*size_of)(uint64_t *))
{
    uint64_t state = 1;
    size_t total = 0, room = live / 256 + 1;
    blocks = (struct block *)malloc(room * sizeof *blocks);
    CHECK(blocks != NULL, "malloc for the pointers");
    for (count = 0; total < live; count++) {
        CHECK(count < room, "more blocks than expected");
        blocks[count].size = size_of(&state);
        blocks[count].bytes = (unsigned char *)launder(malloc(blocks[count].size));
        CHECK(blocks[count].bytes != NULL, "%zu bytes", blocks[count].size);
        memset(blocks[count].bytes, 1, blocks[count].size);
        total += blocks[count].size;
    }
    CHECK(resident_kib() >= live / KIB, "%zu KiB are live, but only %zu resident", live / KIB,
          resident_kib());
}

static void shuffle(void)
{
    uint64_t state = 2;
    size_t i;
    for (i = count - 1; i > 0; i--) {
        size_t j = next_random(&state) % (i + 1);
        struct block other = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = other;
    }
}

static void drop(size_t from, size_t to)
{
    for (; from < to; from++)
        free(blocks[from].bytes);
}

static size_t small(uint64_t *state)
{
    return 16 + next_random(state) % 4081;
}

static size_t medium(uint64_t *state)
{
    return 4096 + next_random(state) % (64 * KIB);
}

static size_t large(uint64_t *state)
{
    return 64 * KIB + random_size(state, 16 * MIB);
}

static void all_goes_back(const char *what, size_t (*size_of)(uint64_t *), int at_random)
{
    size_t rest;
    fill(512 * MIB, size_of);
    if (at_random)
        shuffle();
    drop(0, count);
    free(blocks);
    /* Some kernels settle their counters lazily; a program would not look at once, either. */
    sleep_ms(100);
    rest = resident_kib();
    CHECK(rest <= REST, "%zu KiB resident after 512 MiB of %s blocks were freed %s", rest, what,
          at_random ? "at random" : "in order");
}

static void most_goes_back(void)
{
    size_t live = 0, i, rest;
    fill(512 * MIB, small);
    shuffle();
    drop(0, count / 10 * 9);
    for (i = count / 10 * 9; i < count; i++)
        live += blocks[i].size;
    sleep_ms(100);
    rest = resident_kib();
    /* 51 MiB live, scattered over all pages there were. */
    CHECK(rest <= 4 * (live / KIB) + REST, "%zu KiB resident for %zu KiB live", rest, live / KIB);
    drop(count / 10 * 9, count);
    free(blocks);
}

static void *in_thread(void *unused)
{
    fill(128 * MIB, small);
    drop(0, count / 2);
    return unused;
}

/* What a process takes again soon after it was given back may stay: this much at most. */
#define EARNED (64 * KIB)

static void again_and_again(void)
{
    size_t round;
    for (round = 0; round < 4; round++) {
        fill(128 * MIB, small);
        drop(0, count);
        free(blocks);
    }
    sleep_ms(100);
    CHECK(resident_kib() <= REST + EARNED, "%zu KiB resident after four rounds", resident_kib());
}

/* Blocks of many classes up to 1 KiB, as the tables of a query have. */
static size_t row(uint64_t *state)
{
    size_t least = (size_t)32 << next_random(state) % 5;
    return least + next_random(state) % least;
}

/* The last blocks of each class are spread over its slabs, and must not keep them all. 26 MiB are left after the
   sixth query; 39 as long as a swing of demand was worth full magazines however long it took, and a magazine of
   large blocks counted like one of small ones. */
#define AFTER_QUERIES (30 * KIB)

static void after_queries(void)
{
    size_t round;
    for (round = 1; round <= 6; round++) {
        fill(45 * MIB, row);
        shuffle();
        drop(0, count);
        free(blocks);
        if (round % 2 == 0) {
            sleep_ms(260);
            CHECK(resident_kib() <= AFTER_QUERIES, "%zu KiB resident after %zu queries", resident_kib(), round);
        }
    }
}

static size_t pages(uint64_t *state)
{
    return 4096 + next_random(state) % (28 * KIB);
}

/* Small work, for which a thread empties magazines, with pauses. */
static void go_on(size_t rounds)
{
    void *small_blocks[2000];
    size_t round, i;
    for (round = 0; round < rounds; round++) {
        sleep_ms(1100);
        for (i = 0; i < COUNT(small_blocks); i++)
            small_blocks[i] = launder(malloc((size_t)64 << round));
        for (i = 0; i < COUNT(small_blocks); i++)
            free(small_blocks[i]);
    }
}

/* Three of ten blocks with pages of their own are freed, too few for a look at once: what nobody wants for a
   second or two goes back as well. 7 of 10 MiB do; without that look nothing does. */
static void what_is_idle_goes_back(void)
{
    size_t before, after;
    fill(32 * MIB, pages);
    shuffle();
    drop(0, count / 10 * 3);
    before = resident_kib();
    /* Something else goes on, with other sizes each time. */
    go_on(4);
    after = resident_kib();
    CHECK(after + 5 * KIB <= before, "%zu KiB resident at first, %zu later", before, after);
    drop(count / 10 * 3, count);
    free(blocks);
}

/* A buffer that the program takes again and again stays for it, until it does something else. */
static void after_frames(void)
{
    size_t frame;
    /* Who is kept from running between two frames for as long as one may wait begins again. */
    for (frame = 0; frame < 50 || (resident_kib() < 48 * KIB && frame < 1000); frame++) {
        void *p = launder(malloc(48 * MIB));
        CHECK(p != NULL, "48 MiB");
        memset(p, 1, 48 * MIB);
        free(launder(p));
    }
    CHECK(resident_kib() >= 48 * KIB, "%zu KiB resident after %zu frames of 48 MiB", resident_kib(), frame);
    go_on(4);
    CHECK(resident_kib() <= REST, "%zu KiB resident long after the last frame of 48 MiB", resident_kib());
}

/* A request of a worker: two large buffers, and so little that all of it may stay with one of a few threads. */
static void request(void)
{
    enum { FIRST = 1200000, SECOND = 1900000 };
    void *p = launder(malloc(FIRST)), *q = launder(malloc(SECOND));
    CHECK(p != NULL && q != NULL, "large buffers");
    memset(p, 1, FIRST);
    memset(q, 1, SECOND);
    free(launder(p));
    free(launder(q));
    sleep_ms(2);
}

static pthread_mutex_t no_work = PTHREAD_MUTEX_INITIALIZER;
static int is_busy, asleep;

static void *worker(void *unused)
{
    while (__atomic_load_n(&is_busy, __ATOMIC_RELAXED))
        request();
    __atomic_add_fetch(&asleep, 1, __ATOMIC_RELAXED);
    /* Until the end. */
    pthread_mutex_lock(&no_work);
    pthread_mutex_unlock(&no_work);
    return unused;
}

/* What workers take again and again stays with them, but not for as long as they sleep. 9 MiB stay when nobody else
   can take it. */
static void after_workers(void)
{
    enum { HELD = 12 * KIB, LESS = 6 * KIB };
    pthread_t threads[3];
    size_t i, turn, try, before = 0;
    /* Who is kept from running for as long as a block may wait begins again. */
    for (try = 0; try < 20; try++) {
        pthread_mutex_lock(&no_work);
        is_busy = 1;
        asleep = 0;
        for (i = 0; i < COUNT(threads); i++)
            threads[i] = start_thread(worker, NULL);
        for (turn = 0; turn < 300 || (resident_kib() < HELD && turn < 1000); turn++)
            request();
        __atomic_store_n(&is_busy, 0, __ATOMIC_RELAXED);
        while (__atomic_load_n(&asleep, __ATOMIC_RELAXED) < (int)COUNT(threads))
            sleep_ms(1);
        before = resident_kib();
        if (before >= HELD)
            break;
        pthread_mutex_unlock(&no_work);
        for (i = 0; i < COUNT(threads); i++)
            join_thread(threads[i]);
    }
    CHECK(before >= HELD, "%zu KiB resident when workers have just had work", before);
    /* One thread still works: some hundred turns, unless it is kept from running. */
    for (turn = 0; resident_kib() > before - LESS && turn < 10000; turn++)
        request();
    CHECK(resident_kib() <= before - LESS, "%zu KiB resident long after workers had nothing to do, before %zu",
          resident_kib(), before);
    pthread_mutex_unlock(&no_work);
    for (i = 0; i < COUNT(threads); i++)
        join_thread(threads[i]);
}

#define TAKERS 32
static pthread_mutex_t turns = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t next_turn = PTHREAD_COND_INITIALIZER;
static size_t turn_of, most;

static void *taker(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument, round;
    for (round = 0; round < 20; round++) {
        size_t now;
        pthread_mutex_lock(&turns);
        while (turn_of % TAKERS != self)
            pthread_cond_wait(&next_turn, &turns);
        request();
        now = resident_kib();
        most = now > most ? now : most;
        turn_of++;
        pthread_cond_broadcast(&next_turn);
        pthread_mutex_unlock(&turns);
    }
    return NULL;
}

/* Of many threads that take turns none keeps what the others could have. 39 MiB stayed when each kept its own. */
static void while_threads_take_turns(void)
{
    pthread_t threads[TAKERS];
    size_t i;
    for (i = 0; i < TAKERS; i++)
        threads[i] = start_thread(taker, (void *)(uintptr_t)i);
    for (i = 0; i < TAKERS; i++)
        join_thread(threads[i]);
    CHECK(most <= REST, "%zu KiB resident while one of %d threads had work at a time", most, TAKERS);
}

static void after_a_thread(void)
{
    /* Half is freed by the thread itself, the rest after its death by another one. */
    join_thread(start_thread(in_thread, NULL));
    drop(count / 2, count);
    free(blocks);
    sleep_ms(100);
    CHECK(resident_kib() <= REST, "%zu KiB resident after a dead thread's blocks were freed",
          resident_kib());
}

/* Each in a process of its own, which has not missed yet what it gave back. */
static void in_child(int which)
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0, "fork");
    if (child == 0) {
        switch (which) {
        case 0: all_goes_back("small", small, 0); break;
        case 1: all_goes_back("small", small, 1); break;
        case 2: all_goes_back("medium", medium, 1); break;
        case 3: all_goes_back("large", large, 0); break;
        case 4: all_goes_back("large", large, 1); break;
        case 5: most_goes_back(); break;
        case 6: after_a_thread(); break;
        case 7: after_queries(); break;
        case 8: what_is_idle_goes_back(); break;
        case 9: after_frames(); break;
        case 10: after_workers(); break;
        case 11: while_threads_take_turns(); break;
        default: again_and_again(); break;
        }
        /* With exit handlers, so that its stats are written, too. */
        exit(0);
    }
    status = wait_for(child);
    CHECK(status == 0, "part %d ended with %d", which, status);
}

int main(void)
{
    int which;
    for (which = 0; which < 13; which++)
        in_child(which);
    return 0;
}
