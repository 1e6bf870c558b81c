/* What free memory costs where memory is short. A burst of blocks is taken and freed, once or for a while twenty times
 * a second, so that it pays to keep it; then the program lives on a file that it has mapped, reads a page here and
 * there, and takes a block now and then. File and burst do not fit into memory together: if the burst stays with the
 * allocator, pages of the file have to be read from the disk again and again.
 *
 *   pressure BLOCK BURSTS MILLISECONDS
 *
 * The memory is that of a control group, made for the process below its own (version 1) or below the root (version 2),
 * which takes root's rights. The process moves there when it has taken its first blocks, so the allocator, which may
 * have read the limit of the group it was born in, knows no more of it than of a machine that becomes short of memory.
 */
#include "bench.h"

#include <limits.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, PAGE = 4096, FILE_BYTES = 64 * MIB, BURST = 32 * MIB, LIMIT = FILE_BYTES + 12 * MIB };

/* --- the group */

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return written;
}

/* Makes the group; its directory. */
static void make_group(char group[PATH_MAX])
{
	char line[PATH_MAX], file[PATH_MAX + 64], limit[32];
	FILE *groups = fopen("/proc/self/cgroup", "r");
	const char *knob = "memory.max";
	snprintf(group, PATH_MAX, "/sys/fs/cgroup/hakmem-bench-%d", (int)getpid());
	while (groups && fgets(line, sizeof line, groups)) {
		line[strcspn(line, "\n")] = 0;
		char *own = strstr(line, ":memory:");
		if (own) {
			knob = "memory.limit_in_bytes";
			snprintf(group, PATH_MAX, "/sys/fs/cgroup/memory%.3000s/hakmem-bench-%d", own + 8, (int)getpid());
		}
	}
	if (groups)
		fclose(groups);
	if (mkdir(group, 0700))
		die("cannot make a control group for memory, which takes root's rights");
	/* What is kept must not go to a swap device instead: the one or the other file is there. */
	snprintf(file, sizeof file, "%s/memory.swap.max", group);
	write_text(file, "0");
	snprintf(file, sizeof file, "%s/memory.swappiness", group);
	write_text(file, "0");
	snprintf(file, sizeof file, "%s/%s", group, knob);
	snprintf(limit, sizeof limit, "%d", LIMIT);
	if (!write_text(file, limit)) {
		rmdir(group);
		die("cannot limit the memory of a control group");
	}
}

/* --- the file */

/* Opens the file, and has none of it in memory. */
static int open_file(void)
{
	static char page[PAGE];
	char path[PATH_MAX + 16];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	if (n < 0)
		die("cannot read /proc/self/exe");
	snprintf(path + n, 16, ".data");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat s;
	if (fd < 0 || fstat(fd, &s))
		die("cannot make the file");
	for (off_t at = s.st_size; at < FILE_BYTES; at += PAGE) {
		memset(page, (int)(at / PAGE) | 1, PAGE);
		if (pwrite(fd, page, PAGE, at) != PAGE)
			die("cannot write the file");
	}
	unsigned char resident = 1;
	if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		die("cannot write the file to the disk");
	void *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || mincore(map, PAGE, &resident) || resident & 1)
		die("the file stays in memory: the workloads have to lie on a disk");
	munmap(map, PAGE);
	return fd;
}

/* --- the program */

static void some_blocks(void)
{
	enum { N = 8 };
	void *p[N];
	for (int turn = 0; turn < 50; turn++) {
		for (size_t i = 0; i < N; i++)
			*(char *)(p[i] = take(1000 + i * i * 80000)) = 1;
		for (int i = 0; i < N; i++)
			free(p[i]);
	}
}

static void burst(size_t block)
{
	size_t n = BURST / block;
	void **p = own_memory(n * sizeof *p);
	for (size_t i = 0; i < n; i++)
		memset(p[i] = take(block), 1, block);
	for (size_t i = 0; i < n; i++)
		free(p[i]);
	munmap(p, n * sizeof *p);
}

static long read_from_disk(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_majflt;
}

static int inside(const char *procs, size_t block, long bursts, uint64_t ms)
{
	int fd = open_file();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	some_blocks();
	if (!write_text(procs, "0"))
		die("cannot move to the control group");
	for (long turn = 0; turn < bursts; turn++) {
		if (turn)
			usleep(50000);
		burst(block);
	}
	volatile const char *file = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED || madvise((void *)file, FILE_BYTES, MADV_RANDOM))
		die("cannot map the file");
	uint64_t s = 0, reads = 0;
	for (size_t at = 0; at < FILE_BYTES; at += PAGE)
		s += (uint64_t)file[at];
	rng_t r = rng_new(5);
	long before = read_from_disk();
	uint64_t start = now_ns(), now;
	while ((now = now_ns()) - start < ms * 1000000) {
		for (int i = 0; i < 64; i++)
			s += (uint64_t)file[rng_below(&r, FILE_BYTES / PAGE) * PAGE];
		reads += 64;
		char *p = take(s % 2 ? 200 : 40000);
		*p = 1;
		free(p);
	}
	metric("reads", (double)reads / (double)(now - start) * 1e3, "Mop/s");
	metric("read from the disk again", (double)(read_from_disk() - before) / ((double)(now - start) / 1e9), "pages/s");
	return finish();
}

int main(int argc, char **argv)
{
	if (argc > 4)
		return inside(argv[4], (size_t)arg_long(argc, argv, 1, 1024), arg_long(argc, argv, 2, 1),
		              (uint64_t)arg_long(argc, argv, 3, 1000));
	char group[PATH_MAX], procs[PATH_MAX + 16];
	make_group(group);
	snprintf(procs, sizeof procs, "%s/cgroup.procs", group);
	char *again[] = {argv[0], (char *)arg(argc, argv, 1, "1024"), (char *)arg(argc, argv, 2, "1"),
	                 (char *)arg(argc, argv, 3, "1000"), procs, NULL};
	pid_t pid = vfork();
	if (pid == 0) {
		execv("/proc/self/exe", again);
		_exit(127);
	}
	int status = -1;
	if (pid > 0)
		waitpid(pid, &status, 0);
	/* The kernel may take a while to see that it is empty. */
	for (int turn = 0; rmdir(group) && turn < 100; turn++)
		usleep(10000);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 5;
}
