/* Preloaded behind an allocator under valgrind, which refuses single mappings of hundreds of GiB: one that was
 * refused is asked for again as 16 GiB. The allocator that does this (snmalloc) indexes the mapping by address,
 * and the addresses that valgrind hands out are low, so it never reaches further. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	long r = syscall(SYS_mmap, address, length, protection, flags, fd, offset);
	if (r == -1 && length > 64ul << 30)
		r = syscall(SYS_mmap, address, 16ul << 30, protection, flags, fd, offset);
	return (void *)r;
}
