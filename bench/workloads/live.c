/* Work in a heap of many live blocks, which outgrows the caches.
 *
 *   live free N LO HI             take N blocks, free them in random order
 *   live replace N LO HI TURNS    free a block chosen at random and take another, TURNS times
 *   live mixed SLOTS LO HI TURNS  a slot chosen at random is emptied when full, filled when empty
 *
 * Every block's first word is written when it is taken, as a program would.
 */
#include "bench.h"

int main(int argc, char **argv)
{
	const char *what = arg(argc, argv, 1, "free");
	size_t n = (size_t)arg_long(argc, argv, 2, 1000000);
	size_t lo = (size_t)arg_long(argc, argv, 3, 16), hi = (size_t)arg_long(argc, argv, 4, 512);
	rng_t r = rng_new(42);
	void **a = own_memory(n * sizeof *a);

	if (!strcmp(what, "mixed")) {
		long turns = arg_long(argc, argv, 5, 1000000);
		uint64_t t = now_ns();
		for (long k = 0; k < turns; k++) {
			size_t i = (size_t)rng_below(&r, n);
			if (a[i]) {
				free(a[i]);
				a[i] = NULL;
			} else {
				a[i] = take(rng_size(&r, lo, hi));
				*(size_t *)a[i] = i;
			}
		}
		t = now_ns() - t;
		metric("time", (double)t / (double)turns, "ns/op");
		return finish();
	}

	uint64_t t = now_ns();
	for (size_t i = 0; i < n; i++) {
		a[i] = take(rng_size(&r, lo, hi));
		*(size_t *)a[i] = i;
	}
	t = now_ns() - t;

	if (!strcmp(what, "free")) {
		metric("take", (double)t / (double)n, "ns/malloc");
		shuffle(a, n, &r);
		t = now_ns();
		for (size_t i = 0; i < n; i++)
			free(a[i]);
		t = now_ns() - t;
		metric("free", (double)t / (double)n, "ns/free");
		return finish();
	}
	long turns = arg_long(argc, argv, 5, 1000000);
	/* Once around first, so that what is measured is the heap in its steady state. */
	for (int phase = 0; phase < 2; phase++) {
		long m = phase == 0 ? (long)n : turns;
		t = now_ns();
		for (long k = 0; k < m; k++) {
			size_t i = (size_t)rng_below(&r, n);
			free(a[i]);
			a[i] = take(rng_size(&r, lo, hi));
			*(size_t *)a[i] = i;
		}
		t = now_ns() - t;
	}
	metric("replace", (double)t / (double)turns, "ns/turn");
	return finish();
}
