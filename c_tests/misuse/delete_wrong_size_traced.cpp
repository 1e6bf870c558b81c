// guard: abort operator delete: the block was taken with another size
/* Who made the mistake is found on the stack, as a debugger or a handler of the signal looks for it. */
#include "misuse.h"

#include <csignal>
#include <execinfo.h>
#include <new>

static void *caller;

static void trace(int)
{
    void *frames[64];
    int i, depth = backtrace(frames, 64);
    for (i = 0; i < depth && frames[i] != caller; i++)
        continue;
    CHECK(i < depth, "the caller is not among the %d frames", depth);
    /* It comes when this returns. */
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
}

__attribute__((noinline)) static void err()
{
    void *block;
    caller = __builtin_return_address(0);
    do
        block = ::operator new(100);
    while (ends_with_page((unsigned char *)block, 100));
    ::operator delete(announce(block), opaque(50));
}

int main()
{
    void *first[1];
    /* The first call loads the unwinder, and allocates. */
    backtrace(first, 1);
    signal(SIGABRT, trace);
    err();
    return 0;
}
