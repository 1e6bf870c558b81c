/* The processor stops after each instruction: SIGTRAP's handler runs. Include check.h first. */
#ifndef HAKMEM_STEPPING_H
#define HAKMEM_STEPPING_H

#include <signal.h>
#include <ucontext.h>

/* Below the red zone, where the function may keep values. */
#define CHANGE_FLAGS(operation)                                                       \
    __asm__ volatile("subq $128, %%rsp\n\tpushfq\n\t" operation                       \
                     " (%%rsp)\n\tpopfq\n\taddq $128, %%rsp" ::: "memory", "cc")
#define START_STEPPING() CHANGE_FLAGS("orq $0x100,")
#define STOP_STEPPING() CHANGE_FLAGS("andq $-257,")

/* Called by the handler: what it interrupted goes on without stopping. */
static inline void go_on_without_steps(void *context)
{
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)0x100;
}

static inline void handle_steps(void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    CHECK(sigaction(SIGTRAP, &action, NULL) == 0, "sigaction");
}

#endif
