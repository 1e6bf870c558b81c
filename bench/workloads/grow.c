/* A buffer that grows by realloc in steps of one and a half, from 16 bytes to LIMIT.
 *
 *   grow LIMIT TURNS
 *   grow many N SIZE       N strings that grow in turn, 16 bytes at a time, to SIZE: none has room behind it
 *
 * `bare` only grows (the cost is the allocator's and the copy's), `filled` writes what is new, as a program
 * that appends does. The smallest of five slices.
 */
#include "bench.h"

static double grow(size_t limit, long turns, bool fill)
{
	uint64_t best = UINT64_MAX;
	for (int s = 0; s < 5; s++) {
		uint64_t t = now_ns();
		for (long k = 0; k < turns; k++) {
			size_t size = 16, old = 0;
			char *p = NULL;
			while (size < limit) {
				p = realloc(p, size);
				if (!p)
					die("out of memory");
				keep(p);
				if (fill)
					memset(p + old, 1, size - old);
				old = size;
				size += size / 2;
			}
			p = realloc(p, limit);
			if (!p)
				die("out of memory");
			if (fill)
				memset(p + old, 1, limit - old);
			keep(p);
			free(p);
		}
		t = now_ns() - t;
		if (t < best)
			best = t;
	}
	return (double)best / (double)turns / 1e3;
}

static void many(size_t n, size_t size)
{
	char **a = own_memory(n * sizeof *a);
	uint64_t t = now_ns();
	for (size_t length = 16; length <= size; length += 16)
		for (size_t i = 0; i < n; i++) {
			a[i] = realloc(a[i], length);
			if (!a[i])
				die("out of memory");
			memset(a[i] + length - 16, 1, 16);
		}
	t = now_ns() - t;
	metric("time", (double)t / (double)(n * (size / 16)), "ns/realloc");
}

int main(int argc, char **argv)
{
	if (!strcmp(arg(argc, argv, 1, ""), "many")) {
		many((size_t)arg_long(argc, argv, 2, 1000), (size_t)arg_long(argc, argv, 3, 1024));
		return finish();
	}
	size_t limit = (size_t)arg_long(argc, argv, 1, 65536);
	long turns = arg_long(argc, argv, 2, 1000);
	metric("bare", grow(limit, turns, false), "us/growth");
	metric("filled", grow(limit, turns, true), "us/growth");
	return finish();
}
