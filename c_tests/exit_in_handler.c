/*
 * A signal handler calls exit() after any instruction of the allocator, as handlers of SIGTERM do: the report and the
 * profile that are due then wait for no lock that the interrupted call holds. (The processor stops after each instruction.)
 */
#include "check.h"
#include "stepping.h"

#define CHILDREN 60
/* Set in the process that does it: what its children report, in the middle of something, is of no interest. */
#define REPORTS_NOWHERE "EXIT_IN_HANDLER"

static size_t steps, exit_at;

static void on_step(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    (void)context;
    if (++steps == exit_at)
        exit(0);
}

/* What takes the locks of all tiers. */
static void work(void)
{
    void *small[40], *run, *large;
    size_t i;
    for (i = 0; i < COUNT(small); i++)
        small[i] = launder(malloc(5000));
    run = launder(malloc(300 * KIB));
    large = launder(malloc(3 * MIB));
    run = realloc(run, 400 * KIB);
    free(large);
    free(run);
    for (i = 0; i < COUNT(small); i++)
        free(small[i]);
    malloc_trim(0);
}

/* How many instructions it takes, if nobody exits. */
static size_t length(void)
{
    steps = exit_at = 0;
    START_STEPPING();
    work();
    STOP_STEPPING();
    return steps;
}

static void exit_anywhere(void)
{
    uint64_t state = 1;
    size_t all, i;
    handle_steps(on_step);
    all = length();
    CHECK(all > 5000, "%zu instructions", all);
    for (i = 0; i < CHILDREN; i++) {
        pid_t child;
        exit_at = 1 + next_random(&state) % all;
        steps = 0;
        child = fork();
        CHECK(child >= 0, "fork");
        if (child == 0) {
            /* One that waits for itself shall not hold up all tests. */
            alarm(100);
            START_STEPPING();
            work();
            STOP_STEPPING();
            exit(0);
        } else {
            int status = wait_for(child);
            CHECK(status == 0, "exit after %zu instructions ended with %d", exit_at, status);
        }
    }
}

int main(int count, char **arguments)
{
    char profile[100];
    pid_t child;
    int ended;
    if (getenv(REPORTS_NOWHERE) != NULL) {
        exit_anywhere();
        return 0;
    }
    free(launder(malloc(1)));
    snprintf(profile, sizeof profile, "/tmp/exit_in_handler.%d", (int)getpid());
    child = fork();
    CHECK(child >= 0 && count > 0, "fork");
    if (child == 0) {
        CHECK(setenv(REPORTS_NOWHERE, "1", 1) == 0 && setenv("HAKMEM_STATS", "table,/dev/null", 1) == 0
                  && setenv("HAKMEM_PROFILE", profile, 1) == 0,
              "setenv");
        execv("/proc/self/exe", arguments);
        CHECK(0, "execv");
    }
    ended = wait_for(child);
    CHECK(unlink(profile) == 0, "nobody wrote the profile");
    CHECK(ended == 0, "the one that exits ended with %d", ended);
    return 0;
}
