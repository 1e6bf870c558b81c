// control: glibc
/*
 * A mistake with a block ends the process by SIGABRT: also where that is blocked or ignored, or where its handler
 * returns. The handler may allocate, as those do that write a trace of the stack, also while blocks are guarded.
 */
#include "misuse/misuse.h"

#include <signal.h>

#define MANY 64
#define EACH ((size_t)8192)

/* What the process does about SIGABRT. */
enum disposition { NOTHING, BLOCKED, IGNORED, RETURNS, ALLOCATES };

static void do_nothing(int number)
{
    (void)number;
}

static void allocate(int number)
{
    size_t sizes[] = {40, 500, 5000, EACH, 100000, 1 << 20}, i;
    for (i = 0; i < COUNT(sizes); i++)
        free(launder(malloc(opaque(sizes[i]))));
    signal(number, SIG_DFL);
    raise(number);
}

static void dispose(enum disposition disposition)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGABRT);
    switch (disposition) {
    case NOTHING:
        break;
    case BLOCKED:
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        break;
    case IGNORED:
        signal(SIGABRT, SIG_IGN);
        break;
    case RETURNS:
        signal(SIGABRT, do_nothing);
        break;
    case ALLOCATES:
        signal(SIGABRT, allocate);
        break;
    }
}

static void free_inside(size_t size)
{
    free(launder(take_unfenced(size) + 32));
}

static void free_twice(size_t size)
{
    void *block = take_unfenced(size);
    free(launder(block));
    free(launder(block));
}

static void write_late(size_t size)
{
    unsigned char *block = take_unfenced(size);
    volatile unsigned char *late = (volatile unsigned char *)launder(block + size / 2);
    free(block);
    *late = 1;
}

static void write_behind(size_t size)
{
    volatile unsigned char *block = take_unfenced(size);
    /* Whatever is there. */
    block[size] = (unsigned char)~block[size];
    free((void *)block);
}

static void *take_many(void *argument)
{
    char **blocks = (char **)argument;
    size_t i;
    for (i = 0; i < MANY; i++)
        CHECK((blocks[i] = (char *)malloc(opaque(EACH))) != NULL, "malloc");
    return NULL;
}

/* The second free is found among those of other blocks of a thread that has ended. */
static void free_twice_of_another(size_t size)
{
    static char *blocks[MANY];
    size_t i, first = MANY;
    (void)size;
    join_thread(start_thread(take_many, blocks));
    for (i = 0; i < MANY; i++)
        if ((size_t)blocks[i] / EACH % 8 != 7) {
            free(blocks[i]);
            if (first == MANY && (size_t)blocks[i] / EACH % 8 == 0)
                first = i;
        }
    free(launder(blocks[first]));
    for (i = 0; i < MANY; i++)
        if ((size_t)blocks[i] / EACH % 8 == 7)
            free(blocks[i]);
}

static const struct {
    void (*make)(size_t size);
    size_t size;
    /* Found only while blocks are guarded. */
    int guarded;
} MISTAKES[] = {
    {free_inside, 200000, 0}, {free_inside, 200000, 1}, {free_twice_of_another, EACH, 0}, {free_twice, 40, 1},
    {free_twice, 200000, 1},  {write_late, 40, 1},      {write_behind, 40, 1},
};

int main(int count, char **arguments)
{
    static char self[] = "/proc/self/exe";
    size_t i;
    int disposition;
    if (count == 3) {
        i = strtoul(arguments[1], NULL, 10);
        dispose((enum disposition)atoi(arguments[2]));
        MISTAKES[i].make(MISTAKES[i].size);
        return 0;
    }
    free(take_unfenced(40));
    for (i = 0; i < COUNT(MISTAKES); i++) {
        if (MISTAKES[i].guarded && !on_hakmem())
            continue;
        for (disposition = NOTHING; disposition <= ALLOCATES; disposition++) {
            int code;
            pid_t child = fork();
            CHECK(child >= 0, "fork");
            if (child == 0) {
                char number[16], what[16];
                char *again[] = {self, number, what, NULL};
                snprintf(number, sizeof number, "%zu", i);
                snprintf(what, sizeof what, "%d", disposition);
                /* A report would find the damage. */
                unsetenv("HAKMEM_STATS");
                setenv("HAKMEM_GUARD", MISTAKES[i].guarded ? "1" : "0", 1);
                if (freopen("/dev/null", "w", stderr) == NULL)
                    _exit(2);
                /* Who waits for a lock that is its own would do so for ever. */
                alarm(60);
                execv(self, again);
                _exit(2);
            }
            code = wait_for(child);
            CHECK(code == 128 + SIGABRT, "mistake %zu, disposition %d: %d", i, disposition, code);
        }
    }
    return 0;
}
