/* Whether what a program did before makes slow what it does now. Blocks of one size are taken and freed, all or half
 * of them, then a few blocks of another size are taken and freed in turns; the same turns in a new process are what
 * that should take. Each pair of the two is a process of its own.
 *
 *   history ORDER               a row: all pairs with blocks that were freed in this order: fifo, lifo, random, or
 *                               half, of which every other block stays
 *   history now ORDER SIZE HOT SET   one pair, for the row: nanoseconds for taking and freeing one
 *
 * Each of these processes proves which allocator served it. A pair that seems slow is measured three times, and the
 * smallest figure counts: what disturbs a loop only adds time.
 */
#include "bench.h"

#include <sys/wait.h>

enum { BEFORE = 40 << 20, SLICES = 8, SLICE_NS = 6000000, TRIES = 3 };

/* --- one pair */

static void live_through(const char *order, size_t size)
{
	size_t n = BEFORE / size, stays = !strcmp(order, "half") ? 2 : 1;
	void **p = own_memory(n * sizeof *p);
	for (size_t i = 0; i < n; i++)
		memset(p[i] = take(size), 1, size);
	rng_t r = rng_new(7);
	if (!strcmp(order, "random"))
		shuffle(p, n, &r);
	for (size_t i = 0; i < n; i += stays)
		free(!strcmp(order, "lifo") ? p[n - 1 - i] : p[i]);
	if (stays == 1)
		munmap(p, n * sizeof *p);
}

/* Nanoseconds a block, in the best of several slices. */
static double turns(size_t size, int set)
{
	static void *p[64];
	double best = 1e18;
	for (int s = 0; s < SLICES; s++) {
		uint64_t start = now_ns(), took;
		long n = 0;
		do {
			for (int round = 0; round < 8; round++) {
				for (int i = 0; i < set; i++)
					*(volatile char *)(p[i] = take(size)) = 1;
				for (int i = 0; i < set; i++)
					free(p[i]);
			}
			n += 8 * set;
			took = now_ns() - start;
		} while (took < SLICE_NS);
		double each = (double)took / (double)n;
		if (each < best)
			best = each;
	}
	return best;
}

static int now(const char *order, size_t before, size_t size, int set)
{
	if (strcmp(order, "new"))
		live_through(order, before);
	double each = turns(size, set);
	char line[64];
	return conclude(line, snprintf(line, sizeof line, "%.17g\n", each));
}

/* --- all of an order */

static double measure(const char *order, size_t before, size_t size, int set)
{
	char numbers[3][24];
	snprintf(numbers[0], sizeof numbers[0], "%zu", before);
	snprintf(numbers[1], sizeof numbers[1], "%zu", size);
	snprintf(numbers[2], sizeof numbers[2], "%d", set);
	char *argv[] = {"history", "now", (char *)order, numbers[0], numbers[1], numbers[2], NULL};
	int ends[2], status = -1;
	if (pipe2(ends, O_CLOEXEC))
		die("cannot make a pipe");
	pid_t pid = vfork();
	if (pid == 0) {
		dup2(ends[1], 1);
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	close(ends[1]);
	static char text[8192];
	size_t n = 0;
	ssize_t got;
	while (n < sizeof text - 1 && (got = read(ends[0], text + n, sizeof text - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = 0;
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	/* A line with the figure, and the proof for the driver. */
	char *proof;
	double each = strtod(text, &proof);
	if (proof == text || *proof++ != '\n' || status || write(1, proof, strlen(proof)) <= 0) {
		static char what[100];
		snprintf(what, sizeof what, "history now %s %zu %zu %d failed", order, before, size, set);
		die(what);
	}
	return each;
}

static double smaller(double a, double b) { return a < b ? a : b; }

int main(int argc, char **argv)
{
	if (argc > 5)
		return now(argv[2], (size_t)arg_long(argc, argv, 3, 1), (size_t)arg_long(argc, argv, 4, 1),
		           (int)arg_long(argc, argv, 5, 1));
	const char *order = arg(argc, argv, 1, "fifo");
	static const size_t befores[] = {100, 5000, 30000, 60000, 250000, 1000000, 3000000, 20000000};
	static const size_t sizes[] = {32, 1000, 8000, 40000, 200000, 2000000};
	static const int sets[] = {1, 20};
	double worst = 0, sum = 0;
	int pairs = 0, slow = 0;
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
		for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
			double fresh = 1e18;
			for (int t = 0; t < TRIES; t++)
				fresh = smaller(fresh, measure("new", 1, sizes[s], sets[k]));
			for (size_t b = 0; b < sizeof befores / sizeof *befores; b++) {
				double after = 1e18;
				for (int t = 0; t < TRIES && after > 1.5 * fresh; t++)
					after = smaller(after, measure(order, befores[b], sizes[s], sets[k]));
				double times = after / fresh;
				sum += times;
				pairs++;
				slow += times > 2;
				worst = times > worst ? times : worst;
			}
		}
	metric("on average", sum / pairs, "x new");
	metric("worst", worst, "x new");
	metric("twice as slow", slow, "pairs");
	return finish();
}
