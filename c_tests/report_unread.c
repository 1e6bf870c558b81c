/*
 * A report that cannot be delivered ends nobody. Where no one reads the pipe, or the file may not grow, the system
 * sends the writer a signal; the program does not get it. A signal of its own that waits goes on waiting.
 */
#include "check.h"

#include <hakmem.h>
#include <signal.h>
#include <sys/resource.h>

/* Without -lhakmem the preload provides it; the linker must not insist on it. */
#pragma weak hak_stats_print

static int waits(int number)
{
    sigset_t waiting;
    CHECK(sigpending(&waiting) == 0, "sigpending");
    return sigismember(&waiting, number);
}

static void of_the_program_waits(int number, int waiting)
{
    CHECK(waits(number) == waiting, "signal %d waits: %d, expected %d", number, waits(number), waiting);
}

int main(void)
{
    struct rlimit limit;
    rlim_t most;
    sigset_t set, before, after;
    FILE *file = tmpfile();
    int ends[2];
    free(launder(malloc(1)));
    CHECK(file != NULL && pipe(ends) == 0 && close(ends[0]) == 0, "a pipe that nobody reads");
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR && signal(SIGXFSZ, SIG_DFL) != SIG_ERR, "signal");
    CHECK(sigprocmask(SIG_BLOCK, NULL, &before) == 0, "sigprocmask");
    hak_stats_print(ends[1]);
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0, "getrlimit");
    most = limit.rlim_cur;
    limit.rlim_cur = 10;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
    hak_stats_print(fileno(file));
    limit.rlim_cur = most;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
    CHECK(sigprocmask(SIG_BLOCK, NULL, &after) == 0, "sigprocmask");
    CHECK(sigismember(&before, SIGPIPE) == 0 && sigismember(&after, SIGPIPE) == 0 && sigismember(&after, SIGXFSZ) == 0,
          "the signals are blocked");

    CHECK(sigemptyset(&set) == 0 && sigaddset(&set, SIGPIPE) == 0 && sigprocmask(SIG_BLOCK, &set, NULL) == 0,
          "sigprocmask");
    hak_stats_print(ends[1]);
    of_the_program_waits(SIGPIPE, 0);
    CHECK(raise(SIGPIPE) == 0, "raise");
    hak_stats_print(ends[1]);
    of_the_program_waits(SIGPIPE, 1);
    fclose(file);
    /* It is taken, so that it does not end the test. */
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR, "signal");
    of_the_program_waits(SIGPIPE, 0);
    return 0;
}
