// A program that catches std::bad_alloc, and needs nothing else of the library that throws it.
#include <cstddef>
#include <cstdint>
#include <new>

int main()
{
    volatile std::size_t size = SIZE_MAX / 2 + 1;
    if (::operator new(size, std::nothrow) != nullptr)
        return 1;
    try {
        ::operator delete(::operator new(size));
    } catch (const std::bad_alloc &) {
        return 0;
    }
    return 2;
}
