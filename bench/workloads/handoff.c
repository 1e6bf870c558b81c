/* Blocks that one thread takes and another frees.
 *
 *   handoff one SIZE N      a producer and a consumer
 *   handoff both SIZE N     two threads, each producing for the other
 *
 * The block carries a word that the receiver reads.
 */
#include "ring.h"

static ring_t rings[2];
static size_t size;
static long total;
static pthread_barrier_t start;
static _Atomic uint64_t checksum;

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
