/* Two functions in a library of their own that do nothing: what the loop, the calls and the PLT cost. */
#include <stddef.h>

void *nothing_take(size_t size);
void nothing_give(void *p);

void *nothing_take(size_t size)
{
	(void)size;
	return NULL;
}

void nothing_give(void *p)
{
	(void)p;
}
