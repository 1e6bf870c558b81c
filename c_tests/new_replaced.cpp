// control: glibc
/*
 * A program that replaces only operator new and delete keeps its own, in all forms that the
 * standard derives from them, while their malloc is the library's.
 */
#include "check.h"

#include <new>
#include <string>
#include <vector>

static size_t taken, given;

static void *count_and_allocate(size_t size)
{
    taken++;
    void *block = malloc(size == 0 ? 1 : size);
    if (block == nullptr)
        throw std::bad_alloc();
    return block;
}

void *operator new(size_t size)
{
    return count_and_allocate(size);
}

void operator delete(void *block) noexcept
{
    given += block != nullptr;
    free(block);
}

/* Where the standard library is asked for these, they end in the two above. */
void operator delete(void *block, size_t) noexcept
{
    ::operator delete(block);
}

int main()
{
    {
        std::vector<std::string> strings;
        for (int i = 0; i < 1000; i++)
            strings.push_back(std::string(size_t(i), 'x'));
        CHECK(taken > 900, "only %zu allocations came by", taken);
    }
    CHECK(taken == given, "%zu allocations, %zu frees", taken, given);
    free(malloc(100));
    return 0;
}
