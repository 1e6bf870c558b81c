// control: glibc
/* A program that catches std::bad_alloc, and has nothing else to do with what throws it. */
#include "check.h"

#include <new>

int main()
{
    bool caught = false;
    try {
        launder(::operator new(opaque(SIZE_MAX / 2)));
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    CHECK(caught, "new did not throw");
    return 0;
}
