// control: glibc
/*
 * A steady program watched while it runs: blocks of all tiers replaced at random with as many bytes
 * live all the time, threads that come and go and leave their blocks to the next, blocks freed by
 * other threads, and children that free what they inherit.
 *
 *   soak [SECONDS [MIB [SEATS]]]
 *
 * Each second writes what is resident and live, and the longest single call. A call that takes longer
 * than 5 ms gets a line of its own that says where the time went: waiting for a processor, running, or
 * blocked. Waiting is the kernel's doing, and so is being blocked while there is a child, with which the
 * page tables were copied and the kernel's locks on shared pages are shared, while a thread ends and
 * gives back its stack, or by somebody who waits for a processor meanwhile, with a lock or in the
 * kernel. From ten minutes on there must not be more other such calls, nor one more than twice as
 * long, than a thread has that only maps and unmaps memory; and what is resident must not drift by 1 % an
 * hour, from the second quarter of the time to the last: until then blocks of all classes find their places, which takes minutes at this pace.
 */
#include "check.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>

#define LONG_RUN 600
#define PACE 30000
#define SPIKE_NS UINT64_C(5000000)
#define MAX_SEATS 64
#define EXCHANGED 256
#define BATCH 64
#define HISTORY 64

/* Shares are per cent: of the bytes that are live, and of the operations. */
static const struct tier {
    size_t least, most;
    unsigned bytes, operations;
} tiers[] = {
    {16, 512, 40, 880},
    {512, 4 * KIB, 15, 80},
    {4 * KIB, 32 * KIB, 15, 30},
    {32 * KIB, 512 * KIB, 20, 9},
    {1 * MIB, 3 * MIB, 10, 1},
};
#define TIERS COUNT(tiers)

struct slot {
    unsigned char *block;
    size_t size;
};

/* How long a thread had waited for a processor, at the beginning of each of its latest batches. */
struct history {
    _Atomic int schedstat;
    _Atomic uint64_t at[HISTORY], delay[HISTORY], next;
};

/* Used by one thread at a time; the next one takes it over with its blocks. */
struct seat {
    struct history history;
    struct slot *slots[TIERS];
    size_t count[TIERS], room[TIERS], target[TIERS];
    uint64_t random, due;
    pthread_t thread;
    /* Written by its thread, read by the main thread. */
    _Atomic size_t live[TIERS];
    _Atomic uint64_t operations, longest, generations, over_at, joined_at;
    atomic_bool over;
};

static struct seat seats[MAX_SEATS];
static size_t seat_count = 3;
static atomic_bool stop;
static _Atomic(unsigned char *) exchanged[EXCHANGED];
static _Atomic uint64_t waited, forking, ending, held_up, ours, plain, fork_began, fork_ended, window;
static _Atomic uint64_t longest_ours, longest_plain;
static size_t seconds = 3;
static struct history of_main, of_plain;
static uint64_t started;

static uint64_t now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

/* What a call's time is compared with: of its batch, and of the call itself. */
struct before {
    const struct history *history;
    uint64_t delay, cpu;
};

/* How long the thread whose schedstat this is has waited for a processor, ever. */
static uint64_t run_delay(int schedstat)
{
    char text[96], *cursor;
    ssize_t length = pread(schedstat, text, sizeof text - 1, 0);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    strtoull(text, &cursor, 10);
    return strtoull(cursor, NULL, 10);
}

static void start_history(struct history *history)
{
    int i;
    for (i = 0; i < HISTORY; i++)
        history->at[i] = UINT64_MAX;
    history->next = 0;
    history->schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

static uint64_t note(struct history *history)
{
    uint64_t delay = run_delay(history->schedstat), i = history->next % HISTORY;
    history->at[i] = UINT64_MAX;
    history->delay[i] = delay;
    history->at[i] = now(CLOCK_MONOTONIC);
    history->next++;
    return delay;
}

/* Returns the time at which a call begins. */
static uint64_t begin(struct before *before)
{
    before->cpu = now(CLOCK_THREAD_CPUTIME_ID);
    return now(CLOCK_MONOTONIC);
}

/* How long a thread has waited for a processor since `from`, or a little earlier. */
static uint64_t waited_since(const struct history *history, uint64_t from)
{
    uint64_t latest = 0, oldest = UINT64_MAX, delay = 0, now_delay = run_delay(history->schedstat);
    int i;
    for (i = 0; i < HISTORY; i++) {
        uint64_t at = history->at[i];
        if (at > from ? latest == 0 && at < oldest : at > latest) {
            delay = history->delay[i];
            if (at > from)
                oldest = at;
            else
                latest = at;
        }
    }
    return latest == 0 && oldest == UINT64_MAX ? 0 : now_delay > delay ? now_delay - delay : 0;
}

/* How long all other threads have waited for a processor since `from`: they may have waited in turn. */
static uint64_t others_waited(const struct history *own, uint64_t from)
{
    uint64_t sum = waited_since(&of_main, from) + (own == &of_plain ? 0 : waited_since(&of_plain, from));
    size_t i;
    for (i = 0; i < seat_count; i++)
        if (&seats[i].history != own)
            sum += waited_since(&seats[i].history, from);
    return sum;
}

/* Whether something that began and perhaps ended was under way at any time of a call. */
static int was_under_way(uint64_t began, uint64_t ended, uint64_t from, uint64_t to)
{
    return began != 0 && began < to && (ended < began || ended > from);
}

/* A thread that ends gives its stack back; how long it waits for a processor meanwhile is not told. */
static int thread_ended(uint64_t from, uint64_t to)
{
    size_t i;
    for (i = 0; i < seat_count; i++)
        if (was_under_way(seats[i].over_at, seats[i].joined_at, from, to))
            return 1;
    return 0;
}

/* Waiting counts from the beginning of the batch, and may be overstated. */
__attribute__((cold, noinline)) static void spike(const struct before *before, const char *call,
                                                  size_t size, uint64_t from, uint64_t wall)
{
    uint64_t running = now(CLOCK_THREAD_CPUTIME_ID) - before->cpu;
    uint64_t waiting = run_delay(before->history->schedstat) - before->delay;
    uint64_t blocked = wall > running + waiting ? wall - running - waiting : 0;
    uint64_t others = blocked >= SPIKE_NS ? others_waited(before->history, from) : 0;
    const char *verdict = "the processor's";
    char text[256];
    int length;
    if (running < SPIKE_NS && blocked < SPIKE_NS)
        waited++;
    else if (running < SPIKE_NS && others >= blocked / 5 * 4) {
        verdict = "another's that waited";
        held_up++;
    } else if (running < SPIKE_NS && was_under_way(fork_began, fork_ended, from, from + wall)) {
        verdict = "a fork's";
        forking++;
    } else if (running < SPIKE_NS && thread_ended(from, from + wall)) {
        verdict = "a thread's end";
        ending++;
    } else if (before->history == &of_plain) {
        verdict = "the system's alone";
        plain++;
        if (wall > longest_plain)
            longest_plain = wall;
    } else {
        verdict = "the allocator's";
        ours++;
        if (wall > longest_ours)
            longest_ours = wall;
    }
    length = snprintf(text, sizeof text,
                      "spike at %.3f s: %s of %zu bytes took %.2f ms: waiting %.2f, running %.2f, "
                      "blocked %.2f; others waited %.2f; %s\n",
                      (double)(from - started) / 1e9, call, size, (double)wall / 1e6,
                      (double)waiting / 1e6, (double)running / 1e6, (double)blocked / 1e6,
                      (double)others / 1e6, verdict);
    CHECK(write(STDOUT_FILENO, text, (size_t)length) == length, "write");
}

static void timed(struct seat *seat, const struct before *before, const char *call, size_t size,
                  uint64_t from)
{
    uint64_t wall = now(CLOCK_MONOTONIC) - from;
    if (seat != NULL && wall > seat->longest)
        seat->longest = wall;
    if (wall > SPIKE_NS)
        spike(before, call, size, from, wall);
}

/* Sizes of the smallest tier wander, with their mean as it was: the classes in use change. */
static size_t size_in(struct seat *seat, size_t tier)
{
    static const size_t windows[4][2] = {{16, 496}, {128, 384}, {200, 312}, {64, 448}};
    size_t least = tiers[tier].least, most = tiers[tier].most;
    if (tier == 0) {
        least = windows[window % 4][0];
        most = windows[window % 4][1];
    }
    return least + (size_t)(next_random(&seat->random) % (most - least));
}

static void count_live(struct seat *seat, size_t tier, size_t more, size_t less)
{
    atomic_store_explicit(&seat->live[tier], seat->live[tier] + more - less, memory_order_relaxed);
}

static void take(struct seat *seat, struct before *before, size_t tier)
{
    size_t size = size_in(seat, tier);
    unsigned how = (unsigned)(next_random(&seat->random) % 16);
    struct slot *slot;
    unsigned char *block;
    uint64_t from;
    if (how == 0 && tier > 0 && seat->count[tier] > 0) {
        slot = &seat->slots[tier][next_random(&seat->random) % seat->count[tier]];
        check_stamp(slot->block, slot->size);
        from = begin(before);
        block = (unsigned char *)realloc(slot->block, size);
        timed(seat, before, "realloc", size, from);
        CHECK(block != NULL && stamped_size(block) == slot->size, "realloc(%zu)", size);
        count_live(seat, tier, size, slot->size);
    } else {
        CHECK(seat->count[tier] < seat->room[tier], "tier %zu", tier);
        from = begin(before);
        block = (unsigned char *)(how == 1   ? calloc(1, size)
                                  : how == 2 ? memalign(64, size)
                                             : malloc(size));
        timed(seat, before, "malloc", size, from);
        CHECK(block != NULL, "malloc(%zu)", size);
        slot = &seat->slots[tier][seat->count[tier]++];
        count_live(seat, tier, size, 0);
    }
    slot->block = block;
    slot->size = size;
    stamp(block, size);
}

static void give(struct seat *seat, struct before *before, size_t tier)
{
    size_t place = (size_t)(next_random(&seat->random) % seat->count[tier]);
    struct slot slot = seat->slots[tier][place];
    uint64_t from;
    seat->slots[tier][place] = seat->slots[tier][--seat->count[tier]];
    count_live(seat, tier, 0, slot.size);
    /* One in sixteen is left to whoever comes by next. */
    if (next_random(&seat->random) % 16 == 0 && tier < 3) {
        size_t where = (size_t)(next_random(&seat->random) % EXCHANGED);
        slot.block = atomic_exchange(&exchanged[where], slot.block);
        if (slot.block == NULL)
            return;
        slot.size = stamped_size(slot.block);
    }
    check_stamp(slot.block, slot.size);
    from = begin(before);
    free(slot.block);
    timed(seat, before, "free", slot.size, from);
}

static size_t some_tier(struct seat *seat)
{
    uint64_t point = next_random(&seat->random) % 1000;
    size_t tier = 0;
    while (point >= tiers[tier].operations) {
        point -= tiers[tier].operations;
        tier++;
    }
    return tier;
}

/*
 * In a long run a seat makes so many operations a second and no more: what is kept warm follows the
 * pace, and that of a busy machine changes. What was missed is not made up for.
 */
static void keep_pace(struct seat *seat)
{
    uint64_t time = now(CLOCK_MONOTONIC);
    if (seconds < LONG_RUN)
        return;
    if (seat->due + UINT64_C(100000000) < time)
        seat->due = time;
    seat->due += BATCH * UINT64_C(1000000000) / PACE;
    if (seat->due > time)
        sleep_ms((unsigned)((seat->due - time) / 1000000));
}

static void *sit(void *argument)
{
    struct seat *seat = (struct seat *)argument;
    uint64_t batches = 20 + next_random(&seat->random) % (seconds < 60 ? 400 : 8000);
    struct before before;
    start_history(&seat->history);
    before.history = &seat->history;
    for (; batches > 0 && !atomic_load_explicit(&stop, memory_order_relaxed); batches--) {
        int i;
        before.delay = note(&seat->history);
        for (i = 0; i < BATCH; i++) {
            size_t tier = some_tier(seat);
            if (seat->live[tier] > seat->target[tier])
                give(seat, &before, tier);
            else
                take(seat, &before, tier);
        }
        keep_pace(seat);
        atomic_fetch_add_explicit(&seat->operations, BATCH, memory_order_relaxed);
    }
    close(seat->history.schedstat);
    seat->over_at = now(CLOCK_MONOTONIC);
    seat->over = true;
    return NULL;
}

/* Maps, touches and unmaps 2 MiB as one page, as the first blocks of that size and more are. */
static void map_huge(struct before *before)
{
    const size_t size = 2 * MIB;
    uint64_t from = begin(before);
    unsigned char *memory = (unsigned char *)mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
                                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *huge;
    CHECK(memory != MAP_FAILED, "mmap");
    huge = memory + (size - (uintptr_t)memory % size);
    madvise(huge, size, MADV_HUGEPAGE);
    *(volatile unsigned char *)huge = 1;
    timed(NULL, before, "a huge page", size, from);
    memset(huge, 1, size);
    munmap(memory, 2 * size);
}

/*
 * A thread that makes the system calls that an allocator makes, and never calls it: what happens to it,
 * too, is not the allocator's doing.
 */
static void *map_and_unmap(void *argument)
{
    const size_t size = 1 * MIB;
    struct before before;
    unsigned round;
    start_history(&of_plain);
    before.history = &of_plain;
    for (round = 0; !stop; round++) {
        uint64_t from;
        void *memory;
        before.delay = note(&of_plain);
        if (round % 20 == 0)
            map_huge(&before);
        from = begin(&before);
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        timed(NULL, &before, "mmap", size, from);
        CHECK(memory != MAP_FAILED, "mmap");
        memset(memory, 1, size);
        from = begin(&before);
        madvise(memory, size, MADV_DONTNEED);
        timed(NULL, &before, "madvise", size, from);
        memset(memory, 1, size);
        from = begin(&before);
        munmap(memory, size);
        timed(NULL, &before, "munmap", size, from);
        sleep_ms(5);
    }
    close(of_plain.schedstat);
    return argument;
}

static void start_seat(struct seat *seat)
{
    seat->over = false;
    seat->generations++;
    seat->thread = start_thread(sit, seat);
}

/* The child of a fork while all threads are at work: it owns what was between them. */
static int child(void)
{
    static unsigned char *own[400];
    uint64_t state = 7;
    size_t i, size;
    for (i = 0; i < COUNT(own); i++) {
        size = 16 + random_size(&state, 100 * KIB);
        own[i] = (unsigned char *)malloc(size);
        if (own[i] == NULL)
            return 3;
        stamp(own[i], size);
    }
    for (i = 0; i < EXCHANGED; i++)
        free(exchanged[i]);
    for (i = 0; i < COUNT(own); i++) {
        check_stamp(own[i], stamped_size(own[i]));
        free(own[i]);
    }
    return 0;
}

static void fork_once(void)
{
    pid_t pid;
    int status;
    fork_began = now(CLOCK_MONOTONIC);
    pid = fork();
    if (pid == 0)
        _exit(child());
    CHECK(pid > 0, "fork");
    status = wait_for(pid);
    fork_ended = now(CLOCK_MONOTONIC);
    CHECK(status == 0, "a child ended with %d", status);
}

static size_t live_bytes(void)
{
    size_t sum = 0, i, tier;
    for (i = 0; i < seat_count; i++)
        for (tier = 0; tier < TIERS; tier++)
            sum += seats[i].live[tier];
    return sum;
}

static void *own_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "mmap");
    memset(memory, 0, size);
    return memory;
}

static void furnish(struct seat *seat, size_t bytes, uint64_t seed)
{
    size_t tier, per_seat = bytes / seat_count;
    for (tier = 0; tier < TIERS; tier++) {
        seat->target[tier] = per_seat / 100 * tiers[tier].bytes;
        seat->room[tier] = seat->target[tier] / (tier == 0 ? 100 : tiers[tier].least) + 1000;
        seat->slots[tier] = (struct slot *)own_memory(seat->room[tier] * sizeof(struct slot));
    }
    seat->random = seed;
}

/* Writes one second's line. Returns what is resident, in KiB. */
static size_t report(size_t second, size_t before)
{
    static uint64_t operations;
    uint64_t sum = 0, longest = 0, generations = 0;
    size_t i, resident = resident_kib() - before;
    for (i = 0; i < seat_count; i++) {
        uint64_t its = atomic_exchange(&seats[i].longest, 0);
        sum += seats[i].operations;
        generations += seats[i].generations;
        if (its > longest)
            longest = its;
    }
    printf("%zu s: resident %.2f MiB, live %.2f MiB, longest call %.3f ms, %" PRIu64
           " operations, %" PRIu64 " threads so far\n",
           second, (double)resident / 1024, (double)live_bytes() / (double)MIB,
           (double)longest / 1e6, sum - operations, generations);
    fflush(stdout);
    operations = sum;
    return resident;
}

int main(int argc, char **argv)
{
    size_t bytes = (argc > 2 ? strtoul(argv[2], NULL, 10) : 48) * MIB;
    pthread_t mapper;
    size_t before, second, i, tier, most = 0, early_count = 0, late_count = 0, live;
    double early = 0, late = 0;
    if (argc > 1)
        seconds = strtoul(argv[1], NULL, 10);
    if (argc > 3)
        seat_count = strtoul(argv[3], NULL, 10);
    CHECK(seat_count >= 1 && seat_count <= MAX_SEATS && seconds > 0, "arguments");
    for (i = 0; i < seat_count; i++)
        furnish(&seats[i], bytes, i + 1);
    before = resident_kib();
    start_history(&of_main);
    started = now(CLOCK_MONOTONIC);
    mapper = start_thread(map_and_unmap, NULL);
    for (i = 0; i < seat_count; i++)
        start_seat(&seats[i]);
    for (second = 1; second <= seconds; second++) {
        size_t resident, turn = 0;
        while (now(CLOCK_MONOTONIC) - started < second * UINT64_C(1000000000)) {
            sleep_ms(10);
            note(&of_main);
            for (i = 0; i < seat_count; i++)
                if (seats[i].over) {
                    join_thread(seats[i].thread);
                    seats[i].joined_at = now(CLOCK_MONOTONIC);
                    start_seat(&seats[i]);
                }
            if (++turn % 25 == 0)
                fork_once();
        }
        window = second / 2;
        resident = report(second, before);
        if (resident > most)
            most = resident;
        /* Two windows of equal length after the warm-up, a whole number of turns of the sizes. */
        if (second > seconds / 4 && second <= seconds / 2) {
            early += (double)resident;
            early_count++;
        }
        if ((seconds - second) * 4 < seconds) {
            late += (double)resident;
            late_count++;
        }
    }
    live = live_bytes();
    stop = true;
    for (i = 0; i < seat_count; i++)
        join_thread(seats[i].thread);
    join_thread(mapper);
    printf("calls over 5 ms: %" PRIu64 " waited for a processor, %" PRIu64
           " for another thread that did, %" PRIu64 " for a fork, %" PRIu64
           " for a thread's end, %" PRIu64 " are the system's alone, %" PRIu64
           " the allocator's\n",
           waited, held_up, forking, ending, plain, ours);
    if (early_count > 0 && late_count > 0) {
        /* Of the whole time; half of it is between the two windows. */
        double drift = 2 * ((late / (double)late_count) / (early / (double)early_count) - 1);
        printf("resident %.2f MiB early, %.2f MiB late: drift %+.2f %%; at most %.2f MiB of %.2f "
               "MiB live\n",
               early / (double)early_count / 1024, late / (double)late_count / 1024, drift * 100,
               (double)most / 1024, (double)live / (double)MIB);
        fflush(stdout);
        if (seconds >= LONG_RUN && on_hakmem()) {
            CHECK(drift < 0.01, "what is resident drifts by %.2f %%", drift * 100);
            CHECK(ours <= plain && longest_ours <= 2 * longest_plain,
                  "%" PRIu64 " calls took longer than 5 ms, up to %.2f; of the system %" PRIu64
                  ", up to %.2f",
                  (uint64_t)ours, (double)longest_ours / 1e6, (uint64_t)plain,
                  (double)longest_plain / 1e6);
        }
    }
    /* Each thread has slabs of its own for each of 105 classes, and up to 32 MiB in all are kept of what is
       missed when it has gone back (docs/design.md): much of so small a heap, and not more of larger. */
    CHECK(!on_hakmem() || most * KIB < live + live / 2 + 128 * MIB, "%zu KiB resident of %zu live",
          most, live / KIB);
    for (i = 0; i < seat_count; i++)
        for (tier = 0; tier < TIERS; tier++)
            while (seats[i].count[tier] > 0) {
                struct slot slot = seats[i].slots[tier][--seats[i].count[tier]];
                check_stamp(slot.block, slot.size);
                free(slot.block);
            }
    for (i = 0; i < EXCHANGED; i++)
        free(exchanged[i]);
    malloc_trim(0);
    CHECK(!on_hakmem() || resident_kib() < before + 16 * KIB, "%zu KiB resident after all is freed",
          resident_kib() - before);
    return 0;
}
