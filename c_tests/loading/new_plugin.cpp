/*
 * A library in C++ that asks for more than there is. It is built with the C++ library inside, too, where
 * nobody but itself can throw what it catches.
 */
#include <cstddef>
#include <new>
#include <vector>

extern "C" void *take_or_null(std::size_t size)
{
    return ::operator new(size, std::nothrow);
}

/* Whether it was told by an exception that there is no memory, and how often by its handler. */
static int asked;

extern "C" int is_told(std::size_t size)
{
    asked = 0;
    std::set_new_handler([] {
        if (++asked == 3)
            std::set_new_handler(nullptr);
    });
    try {
        std::vector<char> bytes;
        bytes.reserve(size);
    } catch (const std::bad_alloc &) {
        return asked == 3;
    }
    return 0;
}

struct refusal {
};

/* Whether what its handler throws is caught where it asks for NULL. */
extern "C" int is_spared(std::size_t size)
{
    std::set_new_handler([] { throw refusal(); });
    bool spared = ::operator new(size, std::nothrow) == nullptr;
    std::set_new_handler(nullptr);
    return spared;
}
