/* The proof as a library, preloaded behind the allocator into programs that are not ours: when the program ends
 * it appends its line to the file BENCH_PROOF, once per process. */
#include "proof.h"

__attribute__((destructor)) static void witness(void)
{
	const char *file = getenv("BENCH_PROOF");
	if (!file || !*file)
		return;
	int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	proof_write(fd);
	close(fd);
}
