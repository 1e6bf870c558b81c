// guard: abort free: not a block of any allocator here
/* Memory that the program has mapped for itself. */
#include "misuse.h"

int main(void)
{
    unsigned char *mapped = (unsigned char *)mmap(NULL, MIB, PROT_READ | PROT_WRITE,
                                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED, "mmap");
    free(announce(mapped + 65536));
    return 0;
}
