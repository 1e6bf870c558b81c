/* Which allocator served this process? Four independent answers on one line:
 *
 *   owner   the file whose `malloc` the dynamic linker bound
 *   mapped  1 when BENCH_LIB, a file name, is in /proc/self/maps
 *   symbol  1 when BENCH_SYMBOL, a name that only that allocator exports, is found, - when none was asked
 *   libc    bytes by which glibc's own count of memory in use grew over 64 blocks of 200 bytes
 *   name    of the process, which may have started others
 *   brk     1 when a block lay in the [heap] mapping that brk makes
 *
 * The driver decides what a run under an allocator must answer; a run that answers anything else is void.
 */
#ifndef HAKMEM_BENCH_PROOF_H
#define HAKMEM_BENCH_PROOF_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct proof_maps {
	int mapped; /* the library is in the map */
	int brk;    /* the block is in [heap] */
};

/* Reads /proc/self/maps line by line through a small buffer: a process with a million mappings is fine. */
static struct proof_maps proof_read_maps(const char *lib, const void *block)
{
	struct proof_maps answer = {0, 0};
	char buf[4096 + 1], line[4096];
	size_t len = 0;
	ssize_t got;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return answer;
	while ((got = read(fd, buf, sizeof buf - 1)) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (buf[i] != '\n') {
				if (len < sizeof line - 1)
					line[len++] = buf[i];
				continue;
			}
			line[len] = 0;
			len = 0;
			unsigned long lo, hi;
			if (lib && *lib && strstr(line, lib))
				answer.mapped = 1;
			if (strstr(line, "[heap]") && sscanf(line, "%lx-%lx", &lo, &hi) == 2 &&
			    (unsigned long)block >= lo && (unsigned long)block < hi)
				answer.brk = 1;
		}
	}
	close(fd);
	return answer;
}

static void proof_write(int out)
{
	enum { BLOCKS = 64, BYTES = 200, TRIES = 20 };
	const char *lib = getenv("BENCH_LIB");
	const char *symbol = getenv("BENCH_SYMBOL");
	const char *owner = "?";
	long grown = -1;
	void *blocks[BLOCKS];
	Dl_info info;

	void *entry = dlsym(RTLD_DEFAULT, "malloc");
	if (entry && dladdr(entry, &info) && info.dli_fname)
		owner = info.dli_fname;

	void *libc = dlopen("libc.so.6", RTLD_NOLOAD | RTLD_LAZY);
	struct mallinfo2 (*count)(void) = NULL;
	if (libc) {
		void *f = dlsym(libc, "mallinfo2");
		memcpy(&count, &f, sizeof f);
	}
	struct proof_maps maps = {0};
	/* Threads that are just ending free what they have, and the count covers the whole process. */
	for (int try = 0; try < TRIES && grown <= 0; try++) {
		size_t before = count ? count().uordblks : 0;
		for (int i = 0; i < BLOCKS; i++) {
			blocks[i] = malloc(BYTES);
			__asm__ volatile("" : : "r"(blocks[i]) : "memory");
		}
		if (count)
			grown = (long)(count().uordblks - before);
		maps = proof_read_maps(lib, blocks[0]);
		for (int i = 0; i < BLOCKS; i++)
			free(blocks[i]);
	}

	char line[4600];
	int n = snprintf(line, sizeof line, "proof mapped=%d symbol=%s libc=%ld brk=%d name=%s owner=%s\n",
	                 maps.mapped,
	                 !symbol || !*symbol ? "-" : dlsym(RTLD_DEFAULT, symbol) ? "1" : "0", grown, maps.brk,
	                 program_invocation_short_name, owner);
	if (write(out, line, (size_t)n) < 0)
		_exit(4);
}

#endif
