// guard: abort free: not a block: the memory there cannot be written
#include "misuse.h"

int main(void)
{
    unsigned char *mapped
        = (unsigned char *)mmap(NULL, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED, "mmap");
    free(announce(mapped + 65536));
    return 0;
}
