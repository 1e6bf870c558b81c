/* Producers and consumers beyond a pair.
 *
 *   pipeline chain STAGES SIZE N     a chain: each stage passes every other block on and replaces the rest
 *   pipeline many PRODUCERS SIZE N   several producers, one consumer that frees everything
 *
 * In the chain every stage frees blocks of all stages before it; with several producers the consumer frees
 * blocks of many heaps in turn, so what it collects for one heap comes in small pieces.
 */
#include "ring.h"

enum { MOST = 16 };

static ring_t rings[MOST];
static size_t size;
static long per_thread;
static int threads;
static _Atomic uint64_t checksum;

static void *fresh(uint64_t word)
{
	uint64_t *p = take(size);
	*p = word;
	return p;
}

/* Stage i reads ring i - 1 and writes ring i; the first only takes, the last only frees. */
static void *stage(void *p)
{
	int i = (int)(intptr_t)p;
	uint64_t sum = 0;
	for (long k = 0; k < per_thread; k++) {
		if (i == 0) {
			ring_send(&rings[0], fresh((uint64_t)k));
			continue;
		}
		uint64_t *in = ring_receive(&rings[i - 1]);
		sum += *in;
		if (i == threads - 1) {
			free(in);
		} else if (k & 1) {
			free(in);
			ring_send(&rings[i], fresh((uint64_t)k));
		} else {
			ring_send(&rings[i], in);
		}
	}
	checksum += sum;
	return NULL;
}

static void *producer(void *p)
{
	ring_t *q = p;
	for (long k = 0; k < per_thread; k++)
		ring_send(q, fresh((uint64_t)k));
	return NULL;
}

static void consume(int producers)
{
	uint64_t sum = 0;
	int spun = 0;
	for (long left = per_thread * producers; left > 0;) {
		bool any = false;
		for (int i = 0; i < producers; i++) {
			uint64_t *p = ring_get(&rings[i]);
			if (p) {
				sum += *p;
				free(p);
				left--;
				any = true;
			}
		}
		if (!any)
			pause_a_little(&spun);
	}
	checksum += sum;
}

int main(int argc, char **argv)
{
	bool chain = !strcmp(arg(argc, argv, 1, "chain"), "chain");
	threads = (int)arg_long(argc, argv, 2, 4);
	size = (size_t)arg_long(argc, argv, 3, 64);
	long n = arg_long(argc, argv, 4, 300000);
	if (threads < 2 || threads > MOST)
		die("2 to 16 threads");
	pthread_t t[MOST];
	per_thread = chain ? n : n / threads;
	uint64_t at = now_ns();
	for (int i = 0; i < threads; i++)
		t[i] = chain ? start_thread(stage, (void *)(intptr_t)i) : start_thread(producer, &rings[i]);
	if (!chain)
		consume(threads);
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	at = now_ns() - at;
	metric("time", (double)at / (double)(chain ? n : per_thread * threads), "ns/block");
	return finish();
}
