// guard: abort free_sized: the block was taken with another size
#include "misuse.h"

int main(void)
{
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    unsigned char *block = take_unfenced(64);
    CHECK(sized != NULL, "free_sized");
    sized(block, 64);
    sized(announce(take_unfenced(64)), 63);
    return 0;
}
