// control: glibc
/*
 * A program that replaces one pair of operators, and puts a header in front of what they return: what
 * they are given back is not the start of a block of the library's, in no form that the standard derives.
 * And a block of no bytes with a large alignment goes back with its size.
 */
#include "check.h"

/* That not all forms are replaced is what this is about. */
#pragma GCC diagnostic ignored "-Wsized-deallocation"
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

#include <new>

static const size_t HEADER = 64;
static size_t taken, given;

void *operator new[](size_t size)
{
    char *block = static_cast<char *>(malloc(size + HEADER));
    if (block == nullptr)
        throw std::bad_alloc();
    taken++;
    return block + HEADER;
}

void operator delete[](void *block) noexcept
{
    given += block != nullptr;
    if (block != nullptr)
        free(static_cast<char *>(block) - HEADER);
}

int main()
{
    static const size_t SIZES[] = {1, 100, 5000, 40000, 5 << 20};
    for (size_t size : SIZES) {
        ::operator delete[](::operator new[](size));
        /* Not replaced: it ends in the one above, and nobody but that one knows the block. */
        ::operator delete[](::operator new[](size), size);
        ::operator delete(::operator new(size), size);
    }
    CHECK(taken == 2 * COUNT(SIZES) && given == taken, "%zu and %zu", taken, given);
    for (size_t power = 16; power <= MIB; power *= 2) {
        auto alignment = std::align_val_t(power);
        ::operator delete(::operator new(0, alignment), size_t(0), alignment);
    }
    return 0;
}
