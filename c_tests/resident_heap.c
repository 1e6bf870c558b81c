/*
 * A large heap, all of it resident, whose blocks are replaced at random until twice as much as is live
 * has passed through it; then it shrinks to an eighth, grows to three quarters by blocks of twice the
 * size, and is freed. Arguments: the MiB that are live (default 512, 16384 by hand), and threads
 * (default 2).
 */
#include "check.h"

#include <sys/mman.h>

#define MAX_THREADS 16

/* Per cent of the bytes. */
static const struct tier {
    size_t least, most;
    unsigned bytes;
} tiers[] = {{16, 1024, 40}, {1 * KIB, 32 * KIB, 30}, {32 * KIB, 2 * MIB, 30}};
#define TIERS COUNT(tiers)

struct slot {
    unsigned char *block;
    size_t size;
};

struct worker {
    struct slot *slots[TIERS];
    size_t count[TIERS], room[TIERS], live[TIERS], target[TIERS], replaced;
    uint64_t random;
};

static struct worker workers[MAX_THREADS];
static size_t threads = 2, heap, scale = 1;
static pthread_barrier_t barrier;

static void take(struct worker *worker, size_t tier)
{
    struct slot *slot = &worker->slots[tier][worker->count[tier]++];
    size_t least = tiers[tier].least * scale, most = tiers[tier].most * scale;
    CHECK(worker->count[tier] <= worker->room[tier], "tier %zu", tier);
    slot->size = least + next_random(&worker->random) % (most - least);
    slot->block = (unsigned char *)launder(malloc(slot->size));
    CHECK(slot->block != NULL, "malloc(%zu)", slot->size);
    stamp(slot->block, slot->size);
    worker->live[tier] += slot->size;
}

static void give(struct worker *worker, size_t tier)
{
    struct slot *slots = worker->slots[tier];
    size_t place = next_random(&worker->random) % worker->count[tier];
    check_stamp(slots[place].block, slots[place].size);
    free(slots[place].block);
    worker->live[tier] -= slots[place].size;
    worker->replaced += slots[place].size;
    slots[place] = slots[--worker->count[tier]];
}

/* Takes until as many quarters of the target are live. */
static void fill(struct worker *worker, size_t quarters)
{
    size_t tier;
    for (tier = 0; tier < TIERS; tier++)
        while (worker->live[tier] < worker->target[tier] / 4 * quarters)
            take(worker, tier);
}

/* Gives until a share of the target is left. */
static void shrink(struct worker *worker, size_t share)
{
    size_t tier;
    for (tier = 0; tier < TIERS; tier++)
        while (worker->count[tier] > 0 && worker->live[tier] > worker->target[tier] / share)
            give(worker, tier);
}

static void replace(struct worker *worker)
{
    size_t wanted = 2 * heap / threads, tier;
    worker->replaced = 0;
    while (worker->replaced < wanted)
        for (tier = 0; tier < TIERS; tier++) {
            /* As many bytes of each tier: many small blocks for one large one. */
            size_t until = worker->replaced + tiers[tier].bytes * 64 * KIB;
            while (worker->replaced < until) {
                give(worker, tier);
                while (worker->live[tier] < worker->target[tier])
                    take(worker, tier);
            }
        }
}

/* All threads are here; one says what is resident, and that it is no more than `limit`. */
static void phase(const struct worker *worker, const char *name, size_t limit)
{
    pthread_barrier_wait(&barrier);
    if (worker == &workers[0]) {
        printf("%s: %zu MiB resident, at most %zu\n", name, resident_kib() / KIB, limit / MIB);
        fflush(stdout);
        CHECK(resident_kib() < limit / KIB, "%s: %zu KiB resident, not %zu", name, resident_kib(),
              limit / KIB);
    }
    pthread_barrier_wait(&barrier);
}

static void *work(void *argument)
{
    struct worker *worker = (struct worker *)argument;
    size_t tier, own = 0;
    for (tier = 0; tier < TIERS; tier++)
        own += worker->room[tier] * sizeof(struct slot) * threads;
    /* A thread's magazines keep up to a page for each of their blocks, 105 times 63. Of what was missed
       soon after it had gone back, 16 MiB of slabs, 16 of runs and 64 of mappings are kept (docs/design.md);
       how much it is depends on the machine's speed. */
    own += 16 * MIB + 96 * MIB + threads * 26 * MIB;
    fill(worker, 4);
    phase(worker, "filled", heap + heap / 4 + own);
    replace(worker);
    phase(worker, "replaced", heap + heap / 4 + own);
    shrink(worker, 8);
    phase(worker, "an eighth", heap / 2 + own);
    if (worker == &workers[0])
        scale = 2;
    pthread_barrier_wait(&barrier);
    fill(worker, 3);
    phase(worker, "filled by larger ones", heap + heap / 4 + own);
    shrink(worker, SIZE_MAX);
    phase(worker, "freed", heap / 16 + own);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t ids[MAX_THREADS];
    size_t i, tier;
    heap = (argc > 1 ? strtoul(argv[1], NULL, 10) : 512) * MIB;
    if (argc > 2)
        threads = strtoul(argv[2], NULL, 10);
    CHECK(threads >= 1 && threads <= MAX_THREADS, "arguments");
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (i = 0; i < threads; i++)
        for (tier = 0; tier < TIERS; tier++) {
            struct worker *worker = &workers[i];
            void *slots;
            worker->random = i + 1;
            worker->target[tier] = heap / threads / 100 * tiers[tier].bytes;
            worker->room[tier]
                = worker->target[tier] / ((tiers[tier].least + tiers[tier].most) / 3) + 1000;
            slots = mmap(NULL, worker->room[tier] * sizeof(struct slot), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            CHECK(slots != MAP_FAILED, "mmap");
            worker->slots[tier] = (struct slot *)slots;
        }
    for (i = 0; i < threads; i++)
        ids[i] = start_thread(work, &workers[i]);
    for (i = 0; i < threads; i++)
        join_thread(ids[i]);
    return 0;
}
