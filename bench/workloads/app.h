/* What the application-like workloads share. */
#ifndef HAKMEM_BENCH_APP_H
#define HAKMEM_BENCH_APP_H

#include "bench.h"

static inline uint64_t hash_bytes(const char *s, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
	return h ^ h >> 29;
}

/* A number in [0, n), small ones far more often: popularity as in caches and texts. */
static inline uint64_t rng_skewed(rng_t *r, uint64_t n)
{
	double u = (double)(rng_next(r) >> 11) * 0x1p-53;
	return (uint64_t)((double)n * u * u * u);
}

/* A size between lo and hi whose logarithm is even: many small ones, few large ones. */
static inline size_t rng_log_size(rng_t *r, size_t lo, size_t hi)
{
	int steps = 0;
	for (size_t s = lo; s < hi; s *= 2)
		steps++;
	size_t top = lo << rng_below(r, (uint64_t)steps);
	return rng_size(r, top, top * 2 <= hi ? top * 2 : hi);
}

static inline void *resize(void *p, size_t size)
{
	p = realloc(p, size);
	if (!p)
		die("out of memory");
	return p;
}

static inline void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n, size);
	if (!p)
		die("out of memory");
	return p;
}

/* The last lines of every application: time per operation, and what is resident while it is at work. */
static inline void app_result(uint64_t ns, uint64_t operations, const char *unit, size_t resident_before)
{
	metric("time", (double)ns / (double)operations, unit);
	metric("resident", (double)(resident() - resident_before) / (1 << 20), "MiB");
}

#endif
