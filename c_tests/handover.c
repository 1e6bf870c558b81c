// control: glibc
/*
 * Producers allocate, consumers check and free: through one queue, and in a ring in which each
 * thread passes on what it got. Memory must not grow with the number of blocks handed over.
 */
#include "check.h"

#define PRODUCERS 3
#define CONSUMERS 2
#define BLOCKS 400000
#define ROOM 2048

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled, drained;
    size_t first, count;
    size_t *items[ROOM];
};

static struct queue queue = {.lock = PTHREAD_MUTEX_INITIALIZER,
                             .filled = PTHREAD_COND_INITIALIZER,
                             .drained = PTHREAD_COND_INITIALIZER};

static void put(struct queue *into, size_t *item)
{
    CHECK(pthread_mutex_lock(&into->lock) == 0, "lock");
    while (into->count == ROOM)
        pthread_cond_wait(&into->drained, &into->lock);
    into->items[(into->first + into->count++) % ROOM] = item;
    pthread_cond_signal(&into->filled);
    CHECK(pthread_mutex_unlock(&into->lock) == 0, "unlock");
}

static size_t *take(struct queue *from)
{
    size_t *item;
    CHECK(pthread_mutex_lock(&from->lock) == 0, "lock");
    while (from->count == 0)
        pthread_cond_wait(&from->filled, &from->lock);
    item = from->items[from->first];
    from->first = (from->first + 1) % ROOM;
    from->count--;
    pthread_cond_signal(&from->drained);
    CHECK(pthread_mutex_unlock(&from->lock) == 0, "unlock");
    return item;
}

/* Every block carries its size in the first word and a pattern behind it. */
static size_t *make(uint64_t *state)
{
    size_t size = 16 + random_size(state, 2048);
    size_t *block = (size_t *)malloc(size);
    CHECK(block != NULL, "malloc(%zu)", size);
    block[0] = size;
    pattern_fill(block + 1, size - sizeof *block, size);
    return block;
}

static void consume(size_t *block)
{
    size_t size = block[0];
    CHECK(size >= 16 && size <= 16 + 2048, "a size of %zu", size);
    CHECK(pattern_holds(block + 1, size - sizeof *block, size), "a block of %zu bytes", size);
    free(block);
}

static void *produce(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument;
    size_t i;
    for (i = 0; i < BLOCKS; i++)
        put(&queue, make(&state));
    return NULL;
}

static void *consume_until_null(void *unused)
{
    size_t *block;
    while ((block = take(&queue)) != NULL)
        consume(block);
    return unused;
}

static struct queue ring[4];

static void *pass_on(void *argument)
{
    size_t self = (size_t)(uintptr_t)argument, i;
    uint64_t state = self;
    for (i = 0; i < BLOCKS / 4; i++) {
        size_t *block = take(&ring[self]), *bigger;
        /* Every other block is replaced or resized on the way: owners mix. */
        if (i % 3 == 0) {
            consume(block);
            block = make(&state);
        } else if (i % 3 == 1) {
            bigger = (size_t *)realloc(block, 2100);
            CHECK(bigger != NULL, "realloc");
            CHECK(pattern_holds(bigger + 1, bigger[0] - sizeof *bigger, bigger[0]), "realloc");
            block = bigger;
        }
        put(&ring[(self + 1) % COUNT(ring)], block);
    }
    return NULL;
}

int main(void)
{
    pthread_t producers[PRODUCERS], consumers[CONSUMERS], ringers[COUNT(ring)];
    uint64_t state = 77;
    size_t i, j, resident;

    for (i = 0; i < PRODUCERS; i++)
        producers[i] = start_thread(produce, (void *)(uintptr_t)(i + 1));
    for (i = 0; i < CONSUMERS; i++)
        consumers[i] = start_thread(consume_until_null, NULL);
    for (i = 0; i < PRODUCERS; i++)
        join_thread(producers[i]);
    for (i = 0; i < CONSUMERS; i++)
        put(&queue, NULL);
    for (i = 0; i < CONSUMERS; i++)
        join_thread(consumers[i]);
    /* 1.2 million blocks of 0.8 GiB went through; at most 2,048 (4 MiB) lived at once. */
    resident = resident_kib();
    CHECK(resident < 64 * KIB, "%zu KiB resident after the hand-over", resident);

    for (i = 0; i < COUNT(ring); i++) {
        pthread_mutex_init(&ring[i].lock, NULL);
        pthread_cond_init(&ring[i].filled, NULL);
        pthread_cond_init(&ring[i].drained, NULL);
        for (j = 0; j < 200; j++)
            put(&ring[i], make(&state));
    }
    for (i = 0; i < COUNT(ring); i++)
        ringers[i] = start_thread(pass_on, (void *)(uintptr_t)i);
    for (i = 0; i < COUNT(ring); i++)
        join_thread(ringers[i]);
    for (i = 0; i < COUNT(ring); i++)
        for (j = ring[i].count; j > 0; j--)
            consume(take(&ring[i]));
    return 0;
}
