// guard: exit 0
// default: exit 0
#include "misuse.h"

int main(void)
{
    errno = 0;
    CHECK(malloc(opaque(SIZE_MAX)) == NULL && errno == ENOMEM, "malloc");
    errno = 0;
    CHECK(malloc(opaque((size_t)1 << 46)) == NULL && errno == ENOMEM, "malloc of 64 TiB");
    errno = 0;
    CHECK(calloc(opaque((size_t)1 << 40), 1 << 30) == NULL && errno == ENOMEM, "calloc");
    errno = 0;
    CHECK(realloc(take(10), opaque((size_t)PTRDIFF_MAX)) == NULL && errno == ENOMEM, "realloc");
    return 0;
}
