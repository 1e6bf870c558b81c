/* Hot loops: what a pair of malloc and free costs when everything is in the cache.
 *
 *   hot pair SCALE              one block at a time, 16, 64, 256 and 1024 bytes
 *   hot batch SIZE SCALE        100 and 1,000 blocks taken, then freed: last first, first first, at random
 *   hot tiny SCALE              100 blocks of 8, 16, 32 and 64 bytes: last first, first first, at random, and
 *                               one freed for one taken; one figure for an order
 *   hot calloc SCALE            one zeroed block at a time, 64 B to 1 MiB, none of it read
 *   hot aligned SCALE           one aligned block at a time
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

/* Takes one, frees the oldest of a hundred. */
static double interleaved(size_t size, int n, long turns)
{
	uint64_t best = UINT64_MAX;
	for (int i = 0; i < n; i++)
		slots[i] = take(size);
	for (int s = 0; s < SLICES; s++) {
		uint64_t t = now_ns();
		for (long turn = 0; turn < turns; turn++)
			for (int i = 0; i < n; i++) {
				free(slots[i]);
				slots[i] = malloc(size);
				keep(slots[i]);
			}
		t = now_ns() - t;
		if (t < best)
			best = t;
	}
	for (int i = 0; i < n; i++)
		free(slots[i]);
	return (double)best / (double)(turns * n);
}

static double zeroed(size_t size, long n)
{
	uint64_t best = UINT64_MAX;
	for (int s = 0; s < SLICES; s++) {
		uint64_t t = now_ns();
		for (long i = 0; i < n; i++) {
			void *p = calloc(1, size);
			keep(p);
			free(p);
		}
		t = now_ns() - t;
		if (t < best)
			best = t;
	}
	return (double)best / (double)n;
}

static double aligned(size_t alignment, size_t size, long n)
{
	uint64_t best = UINT64_MAX;
	for (int s = 0; s < SLICES; s++) {
		uint64_t t = now_ns();
		for (long i = 0; i < n; i++) {
			void *p = aligned_alloc(alignment, size);
			keep(p);
			free(p);
		}
		t = now_ns() - t;
		if (t < best)
			best = t;
	}
	return (double)best / (double)n;
}

/* last first, first first, at random */
static const char *names[] = {"LIFO", "FIFO", "random"};
static uint16_t orders[3][1000];

static void make_orders(int n)
{
	rng_t r = rng_new(7);
	for (int i = 0; i < n; i++) {
		orders[0][i] = (uint16_t)(n - 1 - i);
		orders[1][i] = orders[2][i] = (uint16_t)i;
	}
	for (int i = n; i > 1; i--) {
		int j = (int)rng_below(&r, (uint64_t)i);
		uint16_t t = orders[2][i - 1];
		orders[2][i - 1] = orders[2][j];
		orders[2][j] = t;
	}
}

static void tiny(long scale)
{
	static const size_t sizes[] = {8, 16, 32, 64};
	enum { N = 100, SIZES = 4 };
	make_orders(N);
	for (int o = 0; o < 4; o++) {
		double sum = 0;
		for (int i = 0; i < SIZES; i++)
			sum += o < 3 ? batch(sizes[i], N, orders[o], 500 * scale) : interleaved(sizes[i], N, 500 * scale);
		metric(o < 3 ? names[o] : "interleaved", sum / SIZES, "ns/pair");
	}
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
	if (!strcmp(what, "tiny")) {
		tiny(arg_long(argc, argv, 2, 1));
		return finish();
	}
	if (!strcmp(what, "calloc")) {
		long scale = arg_long(argc, argv, 2, 1);
		static const size_t sizes[] = {64, 1024, 65536, 1048576};
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			metricf(zeroed(sizes[i], scale * (sizes[i] < 4096 ? 20000 : 100)), "ns/pair", "%zu B", sizes[i]);
		return finish();
	}
	if (!strcmp(what, "aligned")) {
		long scale = arg_long(argc, argv, 2, 1);
		static const size_t wanted[][2] = {{64, 64}, {256, 512}, {4096, 4096}, {65536, 131072}};
		for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
			metricf(aligned(wanted[i][0], wanted[i][1], scale * (wanted[i][0] < 65536 ? 10000 : 500)), "ns/pair",
			        "%zu B at %zu", wanted[i][1], wanted[i][0]);
		return finish();
	}
	size_t size = (size_t)arg_long(argc, argv, 2, 16);
	long scale = arg_long(argc, argv, 3, 1);
	for (int n = 100; n <= 1000; n *= 10) {
		make_orders(n);
		for (int o = 0; o < 3; o++)
			metricf(batch(size, n, orders[o], 200000 / n * scale), "ns/pair", "%d x %zu B %s", n, size, names[o]);
	}
	return finish();
}
