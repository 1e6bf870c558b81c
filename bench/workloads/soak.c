/* A steady program watched for a long time: how long a single malloc or free may take, and whether memory creeps.
 *
 *   soak SECONDS THREADS MIB
 *
 * Each thread replaces blocks at random in its share of MIB live. The sizes move through four windows of the
 * same mean, so that what is live stays constant while the size classes in use change; one block in 256 is of
 * 4 - 64 KiB, one in sixteen is freed by another thread than the one that took it. Once a second the main
 * thread writes, for malloc and for free, how many calls took how long (buckets of 3 %), and what is resident.
 */
#include "bench.h"

enum { MOST = 64, SUB = 32, BUCKETS = 40 * SUB, OPS = 2, MEAN = 256, EXCHANGE = 64 };

/* Written by one thread, read by the main thread now and then: relaxed atomics, no locks. */
typedef struct {
	_Atomic uint32_t count[OPS][BUCKETS];
	void **slots;
	size_t n;
	uint64_t seed;
} share_t;

static share_t *shares;
static int threads;
static atomic_bool stop;
static _Atomic int window;
static _Atomic(void *) exchange[EXCHANGE];
static uint64_t floor_ticks;

#if defined(__x86_64__)
static inline uint64_t ticks(void) { return __builtin_ia32_rdtsc(); }
#else
static inline uint64_t ticks(void) { return now_ns(); }
#endif

static int bucket(uint64_t v)
{
	if (v < SUB)
		return (int)v;
	int shift = 63 - __builtin_clzll(v) - 5;
	int b = (shift + 1) * SUB + (int)((v >> shift) - SUB);
	return b < BUCKETS ? b : BUCKETS - 1;
}

/* The middle of a bucket. */
static double middle(int b)
{
	if (b < SUB)
		return b;
	int shift = b / SUB - 1;
	return (double)((uint64_t)(SUB + b % SUB) << shift) + (double)(1ull << shift) / 2;
}

static void count(share_t *s, int op, uint64_t from)
{
	uint64_t v = ticks() - from;
	v = v > floor_ticks ? v - floor_ticks : 0;
	_Atomic uint32_t *c = &s->count[op][bucket(v)];
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1, memory_order_relaxed);
}

static void *work(void *p)
{
	static const size_t windows[4][2] = {{16, 496}, {128, 384}, {200, 312}, {64, 448}};
	share_t *s = p;
	rng_t r = rng_new(s->seed);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		int w = atomic_load_explicit(&window, memory_order_relaxed);
		for (int k = 0; k < 1000; k++) {
			uint64_t x = rng_next(&r);
			size_t i = (size_t)rng_below(&r, s->n);
			void *old = s->slots[i];
			if ((x & 15) == 0)
				old = atomic_exchange(&exchange[(x >> 8) % EXCHANGE], old);
			size_t size = (x >> 16) % 256 ? rng_size(&r, windows[w][0], windows[w][1]) : rng_size(&r, 4096, 65536);
			uint64_t t = ticks();
			free(old);
			count(s, 1, t);
			t = ticks();
			char *b = take(size);
			count(s, 0, t);
			b[0] = b[size - 1] = 1;
			s->slots[i] = b;
		}
	}
	return NULL;
}

static void write_all(const char *text, size_t n)
{
	while (n > 0) {
		ssize_t w = write(1, text, n);
		if (w <= 0)
			_exit(4);
		text += w;
		n -= (size_t)w;
	}
}

/* "lat SECOND OP NS:COUNT …" for what was counted since the last time. */
static void report(int second, int op, double ns_per_tick)
{
	static uint32_t seen[OPS][BUCKETS];
	static char line[BUCKETS * 32];
	size_t n = (size_t)snprintf(line, sizeof line, "lat %d %s", second, op ? "free" : "malloc");
	for (int b = 0; b < BUCKETS; b++) {
		uint32_t sum = 0;
		for (int t = 0; t < threads; t++)
			sum += atomic_load_explicit(&shares[t].count[op][b], memory_order_relaxed);
		uint32_t fresh = sum - seen[op][b];
		seen[op][b] = sum;
		if (fresh)
			n += (size_t)snprintf(line + n, sizeof line - n, " %.0f:%u", middle(b) * ns_per_tick, fresh);
	}
	line[n++] = '\n';
	write_all(line, n);
}

int main(int argc, char **argv)
{
	int seconds = (int)arg_long(argc, argv, 1, 10);
	threads = (int)arg_long(argc, argv, 2, 2);
	size_t bytes = (size_t)arg_long(argc, argv, 3, 64) << 20;
	if (threads < 1 || threads > MOST || seconds < 1)
		die("1 to 64 threads, at least a second");
	shares = own_memory(sizeof(share_t) * (size_t)threads);
	/* One block in 256 has a mean of 34 KiB. */
	size_t n = bytes / (MEAN + 34 * 1024 / 256) / (size_t)threads;
	for (int t = 0; t < threads; t++) {
		shares[t].slots = own_memory(n * sizeof(void *));
		shares[t].n = n;
		shares[t].seed = (uint64_t)t + 1;
	}
	floor_ticks = UINT64_MAX;
	for (int i = 0; i < 10000; i++) {
		uint64_t t = ticks();
		t = ticks() - t;
		if (t < floor_ticks)
			floor_ticks = t;
	}
	size_t before = resident();
	pthread_t t[MOST];
	uint64_t t0 = now_ns(), c0 = ticks();
	for (int i = 0; i < threads; i++)
		t[i] = start_thread(work, &shares[i]);
	double early = 0, late = 0;
	int earlies = 0, lates = 0;
	for (int s = 1; s <= seconds; s++) {
		int64_t wait = (int64_t)(t0 + (uint64_t)s * 1000000000u) - (int64_t)now_ns();
		if (wait > 0)
			usleep((useconds_t)(wait / 1000));
		window = s / 2 % 4;
		double ns_per_tick = (double)(now_ns() - t0) / (double)(ticks() - c0);
		report(s, 0, ns_per_tick);
		report(s, 1, ns_per_tick);
		double mib = (double)(resident() - before) / (1 << 20);
		point("resident", s, mib, "MiB");
		if (s * 4 > seconds && s * 2 <= seconds) {
			early += mib;
			earlies++;
		}
		if (s * 4 > seconds * 3) {
			late += mib;
			lates++;
		}
	}
	stop = true;
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	metric("resident, last quarter", late / lates, "MiB");
	/* The windows come around every eight seconds: over less than that this is their difference. */
	if (earlies > 0)
		metric("resident, last quarter over second", (late / lates) / (early / earlies), "x");
	return finish();
}
