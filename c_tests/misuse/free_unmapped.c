// guard: abort free: no memory is mapped there
#include "misuse.h"

int main(void)
{
    unsigned char *mapped
        = (unsigned char *)mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED && munmap(mapped, 64 * MIB) == 0, "mmap, munmap");
    free(announce(mapped + 32 * MIB));
    return 0;
}
