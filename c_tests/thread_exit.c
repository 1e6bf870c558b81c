// control: glibc
/*
 * Threads that end in odd ways: key destructors before and after the allocator's own that still
 * allocate, in all four rounds; every pthread key taken; detached and cancelled threads; frees by a
 * thread whose heap is already gone. What is resident must not grow with the number of threads.
 */
#include "check.h"

#include <limits.h>

#define MANY_KEYS 64
#define ROUNDS 400

static pthread_key_t keys[MANY_KEYS];
static size_t destroyed;

struct value {
    size_t rounds_left;
    pthread_key_t key;
    unsigned char *block;
    size_t size;
};

static struct value *make_value(pthread_key_t key, size_t rounds_left)
{
    struct value *value = (struct value *)malloc(sizeof *value);
    CHECK(value != NULL, "malloc in a thread that ends");
    value->rounds_left = rounds_left;
    value->key = key;
    value->size = 20 + 700 * rounds_left;
    value->block = (unsigned char *)calloc(1, value->size);
    CHECK(value->block != NULL && all_zero(value->block, value->size), "calloc at the end");
    pattern_fill(value->block, value->size, value->key);
    return value;
}

/* Frees, allocates in several tiers, and asks for another round until there is none left. */
static void destroy(void *argument)
{
    struct value *value = (struct value *)argument, *next;
    char *large;
    CHECK(pattern_holds(value->block, value->size, value->key), "a value changed");
    value->block = (unsigned char *)realloc(value->block, value->size * 3);
    CHECK(value->block != NULL, "realloc in a destructor");
    CHECK(pattern_holds(value->block, value->size, value->key), "realloc in a destructor");
    large = (char *)launder(malloc(200000));
    CHECK(large != NULL, "malloc in a destructor");
    large[0] = large[199999] = 1;
    free(large);
    if (value->rounds_left > 1) {
        next = make_value(value->key, value->rounds_left - 1);
        CHECK(pthread_setspecific(next->key, next) == 0, "pthread_setspecific in a destructor");
    }
    free(value->block);
    free(value);
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED);
}

static void set_values(size_t count)
{
    size_t i;
    for (i = 0; i < count; i++)
        CHECK(pthread_setspecific(keys[i], make_value(keys[i], PTHREAD_DESTRUCTOR_ITERATIONS))
                  == 0,
              "pthread_setspecific");
}

static void *allocate_first(void *argument)
{
    size_t count = (size_t)(uintptr_t)argument;
    free(launder(malloc(100)));
    set_values(count);
    return NULL;
}

/* Nothing is allocated by this thread before its destructors run. */
static void *allocate_only_in_destructors(void *argument)
{
    CHECK(pthread_setspecific(keys[0], argument) == 0, "pthread_setspecific");
    return NULL;
}

static void joined_threads(void)
{
    size_t round, resident = 0, counts[] = {1, 4, MANY_KEYS};
    for (round = 0; round < ROUNDS; round++) {
        size_t count = counts[round % COUNT(counts)];
        size_t expected = destroyed + count * PTHREAD_DESTRUCTOR_ITERATIONS;
        join_thread(start_thread(allocate_first, (void *)(uintptr_t)count));
        CHECK(destroyed == expected, "%zu destructors ran instead of %zu", destroyed, expected);
        join_thread(start_thread(allocate_only_in_destructors,
                                 make_value(keys[0], PTHREAD_DESTRUCTOR_ITERATIONS)));
        CHECK(destroyed == expected + PTHREAD_DESTRUCTOR_ITERATIONS, "%zu destructors", destroyed);
        if (round == ROUNDS / 4)
            resident = resident_kib();
    }
    CHECK(resident_kib() < resident + 8 * KIB, "resident grew from %zu to %zu KiB", resident,
          resident_kib());
}

static void detached_threads(void)
{
    size_t expected = destroyed + 100 * 2 * PTHREAD_DESTRUCTOR_ITERATIONS, i;
    for (i = 0; i < 100; i++) {
        pthread_t thread = start_thread(allocate_first, (void *)(uintptr_t)2);
        CHECK(pthread_detach(thread) == 0, "pthread_detach");
        if (i % 10 == 0)
            sleep_ms(1);
    }
    while (__atomic_load_n(&destroyed, __ATOMIC_RELAXED) < expected)
        sleep_ms(1);
}

static void clean_up(void *block)
{
    free(block);
}

static void *wait_to_be_cancelled(void *argument)
{
    void *block = malloc(5000);
    CHECK(block != NULL, "malloc");
    set_values(3);
    pthread_cleanup_push(clean_up, block);
    pthread_barrier_wait((pthread_barrier_t *)argument);
    for (;;)
        sleep_ms(1000);
    pthread_cleanup_pop(1);
    return NULL;
}

static void cancelled_threads(void)
{
    pthread_barrier_t started;
    size_t i;
    pthread_barrier_init(&started, NULL, 2);
    for (i = 0; i < 200; i++) {
        size_t expected = destroyed + 3 * PTHREAD_DESTRUCTOR_ITERATIONS;
        pthread_t thread = start_thread(wait_to_be_cancelled, &started);
        pthread_barrier_wait(&started);
        CHECK(pthread_cancel(thread) == 0, "pthread_cancel");
        CHECK(join_thread(thread) == PTHREAD_CANCELED, "the thread was not cancelled");
        CHECK(destroyed == expected, "%zu destructors ran instead of %zu", destroyed, expected);
    }
}

/* malloc is no cancellation point: cancelling at any moment must not leave a lock behind. */
static void *allocate_until_cancelled(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument;
    for (;;) {
        void *block = launder(malloc(random_size(&state, 300 * KIB)));
        CHECK(block != NULL, "malloc");
        free(block);
        pthread_testcancel();
    }
    return NULL;
}

static void cancelled_while_allocating(void)
{
    pthread_t threads[4];
    size_t round, i;
    for (round = 0; round < 100; round++) {
        for (i = 0; i < COUNT(threads); i++)
            threads[i] = start_thread(allocate_until_cancelled, (void *)(uintptr_t)(round + i));
        sleep_ms(1);
        for (i = 0; i < COUNT(threads); i++)
            CHECK(pthread_cancel(threads[i]) == 0, "pthread_cancel");
        for (i = 0; i < COUNT(threads); i++)
            CHECK(join_thread(threads[i]) == PTHREAD_CANCELED, "the thread was not cancelled");
    }
}

static void *just_allocate(void *argument)
{
    char *block = (char *)malloc((size_t)(uintptr_t)argument);
    CHECK(block != NULL, "malloc");
    block[0] = 1;
    free(block);
    return malloc(30);
}

/* An allocator that wants a key of its own for each thread's end must live without. */
static void no_key_left(void)
{
    pthread_key_t taken[PTHREAD_KEYS_MAX];
    size_t count = 0, i;
    while (count < PTHREAD_KEYS_MAX && pthread_key_create(&taken[count], NULL) == 0)
        count++;
    for (i = 0; i < 200; i++)
        free(join_thread(start_thread(just_allocate, (void *)(uintptr_t)(i * 50 + 1))));
    while (count > 0)
        pthread_key_delete(taken[--count]);
}

int main(void)
{
    size_t i;
    /* Half of the keys are older than the first malloc of this program, half are younger. */
    for (i = 0; i < MANY_KEYS / 2; i++)
        CHECK(pthread_key_create(&keys[i], destroy) == 0, "pthread_key_create");
    join_thread(start_thread(just_allocate, (void *)(uintptr_t)64));
    for (; i < MANY_KEYS; i++)
        CHECK(pthread_key_create(&keys[i], destroy) == 0, "pthread_key_create");
    joined_threads();
    detached_threads();
    cancelled_threads();
    cancelled_while_allocating();
    no_key_left();
    return 0;
}
