/*
 * Sees which handlers for fork the libraries of this program register, by being in front of the C
 * library: an allocator that has something to do before a fork can wait there for another library's
 * lock, or hold its own while others need it.
 */
#include "../check.h"

static int registered, before, after;

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso)
{
    typedef int (*register_function)(void (*)(void), void (*)(void), void (*)(void), void *);
    register_function real = (register_function)(uintptr_t)dlsym(RTLD_NEXT, "__register_atfork");
    registered++;
    before += prepare != NULL;
    after += parent != NULL;
    return real(prepare, parent, child, dso);
}

int main(void)
{
    free(launder(malloc(100)));
    CHECK(registered == 1, "%d handlers", registered);
    CHECK(before == 0 && after == 0, "%d handlers before fork, %d after", before, after);
    return 0;
}
