// guard: abort operator delete: the block was taken with another size
#include "misuse.h"

#include <new>

int main()
{
    std::align_val_t alignment = std::align_val_t(128);
    ::operator delete(::operator new(256, alignment), opaque(256), alignment);
    void *block = ::operator new[](256, alignment);
    ::operator delete[](announce(block), opaque(128), alignment);
    return 0;
}
