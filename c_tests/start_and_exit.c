// control: glibc
/*
 * Memory is used before main by constructors, after main by exit handlers and destructors, by
 * threads that are still running when the process ends, and by the first thread after main has
 * left through pthread_exit.
 */
#include "check.h"

static unsigned char *from_constructor;

__attribute__((constructor(101))) static void very_early(void)
{
    from_constructor = (unsigned char *)malloc(777);
    CHECK(from_constructor != NULL, "malloc before main");
    pattern_fill(from_constructor, 777, 101);
}

__attribute__((destructor(101))) static void very_late(void)
{
    CHECK(pattern_holds(from_constructor, 777, 101), "a block from before main");
    free(from_constructor);
    from_constructor = (unsigned char *)launder(malloc(50000));
    CHECK(from_constructor != NULL, "malloc in a destructor");
    memset(from_constructor, 1, 50000);
    free(from_constructor);
}

static void at_exit(void)
{
    from_constructor = (unsigned char *)realloc(from_constructor, 7777);
    CHECK(from_constructor != NULL, "realloc at exit");
    CHECK(pattern_holds(from_constructor, 777, 101), "realloc at exit");
}

static void *allocate_forever(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument;
    for (;;) {
        void *block = launder(malloc(random_size(&state, 200 * KIB)));
        CHECK(block != NULL, "malloc while the process ends");
        free(block);
    }
    return NULL;
}

static void *end_the_process(void *argument)
{
    /* main has ended through pthread_exit; its blocks are still good. */
    sleep_ms(20);
    CHECK(pattern_holds(argument, 3000, 5), "a block of the main thread");
    free(argument);
    exit(42);
}

int main(void)
{
    pid_t child;
    int i, status;
    for (i = 0; i < 50; i++) {
        child = fork();
        CHECK(child >= 0, "fork");
        if (child == 0) {
            CHECK(atexit(at_exit) == 0, "atexit");
            start_thread(allocate_forever, (void *)(uintptr_t)1);
            start_thread(allocate_forever, (void *)(uintptr_t)2);
            if (i % 2 == 0)
                sleep_ms(1);
            exit(41);
        }
        status = wait_for(child);
        CHECK(status == 41, "the child ended with %d", status);
    }
    child = fork();
    CHECK(child >= 0, "fork");
    if (child == 0) {
        void *block = malloc(3000);
        CHECK(block != NULL, "malloc");
        pattern_fill(block, 3000, 5);
        start_thread(end_the_process, block);
        pthread_exit(NULL);
    }
    status = wait_for(child);
    CHECK(status == 42, "the child ended with %d", status);
    return 0;
}
