/* Hot loops: what a pair of malloc and free costs when everything is in the cache.
 *
 *   hot pair SCALE              one block at a time, 16, 64, 256 and 1024 bytes
 *   hot batch SIZE SCALE        100 and 1,000 blocks taken, then freed: last first, first first, at random
 *
 * Each figure is the smallest of nine slices: what disturbs a loop only ever adds time.
 */
#include "bench.h"

enum { SLICES = 9 };

static double pair(size_t size, long n)
{
	uint64_t best = UINT64_MAX;
	for (int s = 0; s < SLICES; s++) {
		uint64_t t = now_ns();
		for (long i = 0; i < n; i++) {
			void *p = malloc(size);
			keep(p);
			free(p);
		}
		t = now_ns() - t;
		if (t < best)
			best = t;
	}
	return (double)best / (double)n;
}

static void *slots[1000];

/* `order[i]` is the slot that is freed as the i-th. */
static double batch(size_t size, int n, const uint16_t *order, long turns)
{
	uint64_t best = UINT64_MAX;
	for (int s = 0; s < SLICES; s++) {
		uint64_t t = now_ns();
		for (long turn = 0; turn < turns; turn++) {
			for (int i = 0; i < n; i++) {
				slots[i] = malloc(size);
				keep(slots[i]);
			}
			for (int i = 0; i < n; i++)
				free(slots[order[i]]);
		}
		t = now_ns() - t;
		if (t < best)
			best = t;
	}
	return (double)best / (double)(turns * n);
}

int main(int argc, char **argv)
{
	const char *what = arg(argc, argv, 1, "pair");
	if (!strcmp(what, "pair")) {
		long scale = arg_long(argc, argv, 2, 1);
		static const size_t sizes[] = {16, 64, 256, 1024};
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			metricf(pair(sizes[i], 200000 * scale), "ns/pair", "%zu B", sizes[i]);
		return finish();
	}
	size_t size = (size_t)arg_long(argc, argv, 2, 16);
	long scale = arg_long(argc, argv, 3, 1);
	static uint16_t order[3][1000];
	static const char *names[] = {"LIFO", "FIFO", "random"};
	for (int n = 100; n <= 1000; n *= 10) {
		rng_t r = rng_new(7);
		for (int i = 0; i < n; i++) {
			order[0][i] = (uint16_t)(n - 1 - i);
			order[1][i] = order[2][i] = (uint16_t)i;
		}
		for (int i = n; i > 1; i--) {
			int j = (int)rng_below(&r, (uint64_t)i);
			uint16_t t = order[2][i - 1];
			order[2][i - 1] = order[2][j];
			order[2][j] = t;
		}
		for (int o = 0; o < 3; o++)
			metricf(batch(size, n, order[o], 200000 / n * scale), "ns/pair", "%d x %zu B %s", n, size, names[o]);
	}
	return finish();
}
