// A C++ program that is linked with hakmem: containers, and an exception when memory ends.
#include <hakmem.h>

#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

int main()
{
    std::vector<std::string> lines;
    for (int i = 0; i < 1000; i++)
        lines.push_back(std::string(static_cast<std::size_t>(i), 'x'));
    auto block = std::make_unique<char[]>(10);
    if (hak_usable_size(block.get()) != malloc_usable_size(block.get()) || lines[999].size() != 999)
        return 1;
    try {
        volatile std::size_t size = SIZE_MAX / 2 + 1;
        ::operator delete(::operator new(size));
    } catch (const std::bad_alloc &) {
        return 0;
    }
    return 2;
}
