// A program that replaces the two basic operators only. The standard routes all other forms through them,
// whatever library the others come from: a block of one family must never reach the other.
#include <hakmem.h>

#include <cstdlib>
#include <new>

namespace {
int live;
const long MARK = 0x5ca1ab1e;
} // namespace

void *operator new(std::size_t size)
{
    char *block = static_cast<char *>(std::malloc(size + 16));
    if (block == nullptr)
        throw std::bad_alloc();
    *reinterpret_cast<long *>(block) = MARK;
    live++;
    return block + 16;
}

void operator delete(void *pointer) noexcept
{
    if (pointer == nullptr)
        return;
    char *block = static_cast<char *>(pointer) - 16;
    if (*reinterpret_cast<long *>(block) != MARK)
        std::abort();
    live--;
    std::free(block);
}

int main()
{
    void *blocks[] = {
        ::operator new(1),
        ::operator new[](1),
        ::operator new(1, std::nothrow),
        ::operator new[](1, std::nothrow),
        ::operator new(1),
        ::operator new[](1),
    };
    if (live != 6)
        return 1;
    ::operator delete[](blocks[0]);
    ::operator delete[](blocks[1], std::size_t(1));
    ::operator delete(blocks[2], std::nothrow);
    ::operator delete[](blocks[3], std::nothrow);
    ::operator delete(blocks[4], std::size_t(1));
    ::operator delete(blocks[5]);
    return live == 0 ? 0 : 2;
}
