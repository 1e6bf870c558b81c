// guard: abort realloc: not the start of a block
#include "misuse.h"

int main(void)
{
    return realloc(announce(take_unfenced(64) + 16), 200) == NULL;
}
