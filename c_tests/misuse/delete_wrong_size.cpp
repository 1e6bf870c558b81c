// guard: abort operator delete: the block was taken with another size
#include "misuse.h"

#include <new>

struct base {
    unsigned char bytes[40];
};
struct derived : base {
    unsigned char more[80];
};

int main()
{
    ::operator delete(::operator new(100), opaque(100));
    ::operator delete[](::operator new[](100), opaque(100));
    /* No virtual destructor, so delete believes that it is a base. */
    base *object;
    do
        object = new derived;
    while (ends_with_page((unsigned char *)object, sizeof(derived)));
    delete (base *)announce(object);
    return 0;
}
