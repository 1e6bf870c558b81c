// control: glibc
/* Every function works on the smallest stack that a thread can have, and in a signal's stack. */
#include "allocators.h"

#include <limits.h>
#include <signal.h>
#include <sys/mman.h>

static void *all_functions(void *unused)
{
    static const size_t SIZES[] = {1, 100, 1000, 5000, 40000, 300000, 3 << 20, 40 << 20};
    size_t i, j;
    for (i = 0; i < COUNT(ALLOCATORS); i++)
        for (j = 0; j < COUNT(SIZES); j++) {
            char *block = (char *)ALLOCATORS[i].allocate(SIZES[j]);
            CHECK(block != NULL, "%s of %zu", ALLOCATORS[i].name, SIZES[j]);
            block[0] = 1;
            block = (char *)realloc(block, SIZES[j] * 2 + 1);
            CHECK(block != NULL && block[0] == 1, "realloc of %zu bytes", SIZES[j]);
            free(block);
        }
    malloc_trim(0);
    return unused;
}

static void on_signal(int number)
{
    (void)number;
    all_functions(NULL);
}

int main(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), i;
    for (i = 0; i < 20; i++) {
        pthread_attr_t attributes;
        pthread_t thread;
        CHECK(pthread_attr_init(&attributes) == 0, "pthread_attr_init");
        CHECK(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN) == 0,
              "pthread_attr_setstacksize");
        CHECK(pthread_create(&thread, &attributes, all_functions, NULL) == 0, "pthread_create");
        pthread_attr_destroy(&attributes);
        join_thread(thread);
    }
    {
        /* Raised here, so no malloc is interrupted. The page below the stack catches an overflow. */
        size_t size = (size_t)PTHREAD_STACK_MIN;
        struct sigaction action;
        stack_t stack;
        char *memory = (char *)mmap(NULL, size + page, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory != MAP_FAILED && mprotect(memory, page, PROT_NONE) == 0, "mmap");
        memset(&stack, 0, sizeof stack);
        stack.ss_sp = memory + page;
        stack.ss_size = size;
        CHECK(sigaltstack(&stack, NULL) == 0, "sigaltstack");
        memset(&action, 0, sizeof action);
        action.sa_handler = on_signal;
        action.sa_flags = SA_ONSTACK;
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && raise(SIGUSR1) == 0, "sigaction");
    }
    return 0;
}
