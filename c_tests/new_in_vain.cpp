// control: glibc
/* The nothrow forms of new where nothing else needs what throws: a static program contains no thrower. */
#include "check.h"

#include <new>

int main()
{
    auto alignment = std::align_val_t(256);
    size_t size = opaque(SIZE_MAX / 2);
    CHECK(launder(::operator new(size, std::nothrow)) == nullptr, "new");
    CHECK(launder(::operator new[](size, std::nothrow)) == nullptr, "new[]");
    CHECK(launder(::operator new(size, alignment, std::nothrow)) == nullptr, "aligned new");
    CHECK(launder(::operator new[](size, alignment, std::nothrow)) == nullptr, "aligned new[]");
    ::operator delete(launder(::operator new(100, std::nothrow)));
    return 0;
}
