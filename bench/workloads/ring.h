/* A ring between one writer and one reader, with each side's index on its own cache line and the other side's
 * index cached. A side that cannot go on yields after a short spin, since the machine may have other work for
 * the core. */
#ifndef HAKMEM_BENCH_RING_H
#define HAKMEM_BENCH_RING_H

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

static void pause_a_little(int *spun)
{
	if (++*spun < SPIN)
		relax();
	else {
		*spun = 0;
		sched_yield();
	}
}

/* Waits until there is room. */
__attribute__((unused)) static void ring_send(ring_t *q, void *p)
{
	int spun = 0;
	while (!ring_put(q, p))
		pause_a_little(&spun);
}

/* Waits until there is something. */
__attribute__((unused)) static void *ring_receive(ring_t *q)
{
	int spun = 0;
	void *p;
	while (!(p = ring_get(q)))
		pause_a_little(&spun);
	return p;
}

#endif
