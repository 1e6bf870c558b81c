/* What every workload shares: a clock, a random generator, resident memory, soft faults, results, and the
 * proof of which allocator served the process.
 *
 * Nothing here calls malloc before or during a measurement: results are formatted on the stack and written
 * with write(2), the /proc files are read into static buffers. The proof runs last, so that it cannot warm
 * anything up.
 */
#ifndef HAKMEM_BENCH_H
#define HAKMEM_BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "proof.h"

/* The compiler must believe that the block is used, or it removes the pair of calls. */
static inline void keep(void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64*: the same sequence for every allocator, two nanoseconds a number. */
typedef struct {
	uint64_t s;
} rng_t;

static inline rng_t rng_new(uint64_t seed)
{
	rng_t r = {seed * 0x9E3779B97F4A7C15u | 1u};
	return r;
}

static inline uint64_t rng_next(rng_t *r)
{
	uint64_t x = r->s;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	r->s = x;
	return x * 0x2545F4914F6CDD1Du;
}

/* A number in [0, n), by multiplication: no division in the measured loops. */
static inline uint64_t rng_below(rng_t *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)rng_next(r) * n) >> 64);
}

/* A number in [lo, hi]. */
static inline size_t rng_size(rng_t *r, size_t lo, size_t hi)
{
	return lo + (size_t)rng_below(r, hi - lo + 1);
}

static inline void die(const char *what)
{
	char line[200];
	int n = snprintf(line, sizeof line, "workload: %s\n", what);
	if (write(2, line, (size_t)n) < 0) { /* nothing is left to tell it to */
	}
	_exit(3);
}

static inline void *take(size_t size)
{
	void *p = malloc(size);
	if (!p)
		die("out of memory");
	return p;
}

/* Memory of the harness's own, resident from the start, that no allocator knows. */
static inline void *own_memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED)
		die("out of memory for the harness's own array");
	memset(p, 0, bytes);
	return p;
}

/* One value from a /proc file of "Name:   123 kB" lines, in bytes. */
static inline size_t proc_kb(const char *file, const char *name)
{
	static char text[8192];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("cannot read a /proc file");
	size_t n = 0;
	ssize_t got;
	while (n < sizeof text - 1 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0)
		n += (size_t)got;
	close(fd);
	text[n] = 0;
	const char *at = strstr(text, name);
	return at ? strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

/* Resident bytes. smaps_rollup walks the page tables: statm is a counter that lags by some pages a CPU. */
static inline size_t resident(void) { return proc_kb("/proc/self/smaps_rollup", "Rss:"); }

/* Soft faults of this process so far. */
static inline long soft_faults(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt;
}

/* One result: the row's metric, its value and its unit. The unit says which direction is better. */
static inline void metric(const char *name, double value, const char *unit)
{
	char line[256];
	int n = snprintf(line, sizeof line, "metric %s\t%.6g\t%s\n", name, value, unit);
	if (write(1, line, (size_t)n) < 0)
		_exit(4);
}

/* The metric's name is put together from a format. */
__attribute__((format(printf, 3, 4))) static inline void metricf(double value, const char *unit, const char *fmt, ...)
{
	char name[128];
	va_list a;
	va_start(a, fmt);
	vsnprintf(name, sizeof name, fmt, a);
	va_end(a);
	metric(name, value, unit);
}

/* One point of a curve over time; the driver draws it and keeps it with the sample. */
static inline void point(const char *curve, double x, double y, const char *unit)
{
	char line[256];
	int n = snprintf(line, sizeof line, "point %s\t%.6g\t%.6g\t%s\n", curve, x, y, unit);
	if (write(1, line, (size_t)n) < 0)
		_exit(4);
}

/* Inside a loop that waits for another thread. */
static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static inline pthread_t start_thread(void *(*work)(void *), void *with)
{
	pthread_t t;
	if (pthread_create(&t, NULL, work, with))
		die("cannot start a thread");
	return t;
}

/* From the first thread's start to the last one's end. The threads say themselves when that was: whoever waits
 * for them may be put off the processor just then. */
typedef struct {
	_Atomic uint64_t first, last;
} span_t;

static inline void span_start(span_t *s)
{
	uint64_t now = now_ns(), seen = 0;
	/* Zero stands for "nobody yet". */
	while ((seen == 0 || now < seen) && !atomic_compare_exchange_weak(&s->first, &seen, now)) {
	}
}

static inline void span_end(span_t *s)
{
	uint64_t now = now_ns(), seen = 0;
	while (now > seen && !atomic_compare_exchange_weak(&s->last, &seen, now)) {
	}
}

static inline void shuffle(void **a, size_t n, rng_t *r)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)rng_below(r, i);
		void *t = a[i - 1];
		a[i - 1] = a[j];
		a[j] = t;
	}
}

static inline const char *arg(int argc, char **argv, int i, const char *otherwise)
{
	return i < argc ? argv[i] : otherwise;
}

static inline long arg_long(int argc, char **argv, int i, long otherwise)
{
	return i < argc ? strtol(argv[i], NULL, 10) : otherwise;
}

/* A last line of `length` bytes, and the proof. */
static inline int conclude(const char *line, int length)
{
	if (write(1, line, (size_t)length) < 0)
		return 4;
	proof_write(1);
	return 0;
}

/* Last call of every workload: peak resident memory of this very address space, and the proof. */
static inline int finish(void)
{
	char line[64];
	return conclude(line, snprintf(line, sizeof line, "peak %zu\n", proc_kb("/proc/self/status", "VmHWM:")));
}

#endif
