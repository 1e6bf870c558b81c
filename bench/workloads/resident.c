/* Resident memory against what was asked for.
 *
 *   resident blocks N SIZE        N blocks of one size, all written
 *   resident heap BYTES LO HI MS  BYTES of blocks of random sizes, all written; then nine of ten freed at
 *                                 random, MS milliseconds idle; then the rest freed, and idle again
 *
 * The array of pointers is the harness's own and resident before the first reading.
 */
#include "bench.h"

int main(int argc, char **argv)
{
	if (!strcmp(arg(argc, argv, 1, "blocks"), "blocks")) {
		size_t n = (size_t)arg_long(argc, argv, 2, 1000000), size = (size_t)arg_long(argc, argv, 3, 16);
		void **a = own_memory(n * sizeof *a);
		size_t before = resident();
		uint64_t t = now_ns();
		for (size_t i = 0; i < n; i++) {
			a[i] = take(size);
			memset(a[i], 1, size);
		}
		t = now_ns() - t;
		metricf((double)(resident() - before) / (double)(n * size), "x asked", "%zu x %zu B", n, size);
		metric("take", (double)t / (double)n, "ns/malloc");
		return finish();
	}
	size_t bytes = (size_t)arg_long(argc, argv, 2, 1l << 30);
	size_t lo = (size_t)arg_long(argc, argv, 3, 16), hi = (size_t)arg_long(argc, argv, 4, 4096);
	useconds_t idle = (useconds_t)arg_long(argc, argv, 5, 1000) * 1000;
	size_t n = 0, asked = 0, max = bytes / ((lo + hi) / 2) * 11 / 10 + 1000;
	void **a = own_memory(max * sizeof *a);
	rng_t r = rng_new(11);
	size_t before = resident();
	while (asked < bytes && n < max) {
		size_t size = rng_size(&r, lo, hi);
		a[n] = take(size);
		memset(a[n], 1, size);
		/* The order below is random: the size travels in the block. */
		*(uint32_t *)a[n] = (uint32_t)size;
		asked += size;
		n++;
	}
	const double mib = 1 << 20;
	metric("live", (double)(resident() - before) / (double)asked, "x asked");
	shuffle(a, n, &r);
	size_t keep_n = n / 10, kept = 0;
	for (size_t i = keep_n; i < n; i++)
		free(a[i]);
	for (size_t i = 0; i < keep_n; i++)
		kept += *(uint32_t *)a[i];
	usleep(idle);
	metric("90 % freed", (double)(resident() - before) / mib, "MiB");
	metric("90 % freed, over live", (double)(resident() - before) / (double)kept, "x asked");
	for (size_t i = 0; i < keep_n; i++)
		free(a[i]);
	usleep(idle);
	size_t after = resident();
	metric("all freed", after > before ? (double)(after - before) / mib : 0.0, "MiB");
	return finish();
}
