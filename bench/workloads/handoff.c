/* Blocks that one thread takes and another frees.
 *
 *   handoff one SIZE N      a producer and a consumer
 *   handoff both SIZE N     two threads, each producing for the other
 *
 * The queue is a ring between one writer and one reader, with each side's index on its own cache line and the
 * other side's index cached; the block carries a word that the receiver reads. A side that cannot go on
 * yields after a short spin, since the machine may have other work for the core.
 */
#include "bench.h"

enum { SLOTS = 1024, SPIN = 64 };

typedef struct {
	_Alignas(128) _Atomic size_t head;
	size_t tail_seen;
	_Alignas(128) _Atomic size_t tail;
	size_t head_seen;
	_Alignas(128) void *slot[SLOTS];
} ring_t;

static bool ring_put(ring_t *q, void *p)
{
	size_t h = atomic_load_explicit(&q->head, memory_order_relaxed);
	if (h - q->tail_seen == SLOTS) {
		q->tail_seen = atomic_load_explicit(&q->tail, memory_order_acquire);
		if (h - q->tail_seen == SLOTS)
			return false;
	}
	q->slot[h % SLOTS] = p;
	atomic_store_explicit(&q->head, h + 1, memory_order_release);
	return true;
}

static void *ring_get(ring_t *q)
{
	size_t t = atomic_load_explicit(&q->tail, memory_order_relaxed);
	if (t == q->head_seen) {
		q->head_seen = atomic_load_explicit(&q->head, memory_order_acquire);
		if (t == q->head_seen)
			return NULL;
	}
	void *p = q->slot[t % SLOTS];
	atomic_store_explicit(&q->tail, t + 1, memory_order_release);
	return p;
}

static ring_t rings[2];
static size_t size;
static long total;
static pthread_barrier_t start;
static _Atomic uint64_t checksum;

static void pause_a_little(int *spun)
{
	if (++*spun < SPIN)
		__builtin_ia32_pause();
	else {
		*spun = 0;
		sched_yield();
	}
}

/* Sends `send` blocks into `out` and frees `receive` blocks from `in`, whichever is possible. */
static void work(ring_t *out, long send, ring_t *in, long receive)
{
	uint64_t sum = 0;
	int spun = 0;
	void *next = NULL;
	while (send > 0 || receive > 0) {
		bool moved = false;
		if (send > 0) {
			if (!next) {
				next = take(size);
				*(uint64_t *)next = (uint64_t)send;
			}
			if (ring_put(out, next)) {
				next = NULL;
				send--;
				moved = true;
			}
		}
		if (receive > 0) {
			void *p = ring_get(in);
			if (p) {
				sum += *(uint64_t *)p;
				free(p);
				receive--;
				moved = true;
			}
		}
		if (!moved)
			pause_a_little(&spun);
	}
	checksum += sum;
}

static bool both;

static void *second(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&start);
	work(&rings[1], both ? total : 0, &rings[0], total);
	return NULL;
}

int main(int argc, char **argv)
{
	both = !strcmp(arg(argc, argv, 1, "one"), "both");
	size = (size_t)arg_long(argc, argv, 2, 64);
	long n = arg_long(argc, argv, 3, 1000000);
	uint64_t best = UINT64_MAX;
	pthread_barrier_init(&start, NULL, 2);
	for (int slice = 0; slice < 3; slice++) {
		pthread_t t;
		total = n / 3;
		if (pthread_create(&t, NULL, second, NULL))
			die("cannot start a thread");
		pthread_barrier_wait(&start);
		uint64_t at = now_ns();
		work(&rings[0], total, &rings[1], both ? total : 0);
		pthread_join(t, NULL);
		at = now_ns() - at;
		if (at < best)
			best = at;
	}
	metricf((double)best / (double)(total * (both ? 2 : 1)), "ns/block", "%zu B", size);
	return finish();
}
