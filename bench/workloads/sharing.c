/* False sharing: do blocks of two threads lie on one cache line?
 *
 *   sharing active THREADS TURNS     each thread takes a block of 8 bytes, writes it often, frees it
 *   sharing passive THREADS TURNS    the same, but each thread's first block was taken by the main thread,
 *                                    one beside the other, and is freed by the thread
 *
 * After the cache-thrash and cache-scratch tests of Berger et al. (Hoard, 2000). With fewer cores than threads
 * the threads share a core's cache, and the difference gets smaller.
 */
#include "bench.h"

enum { WRITES = 1000, MOST = 64 };

static long turns;
static pthread_barrier_t start;
static span_t span;

static void *work(void *p)
{
	pthread_barrier_wait(&start);
	span_start(&span);
	free(p);
	for (long k = 0; k < turns; k++) {
		volatile char *b = take(8);
		for (int i = 0; i < WRITES; i++)
			b[i & 7]++;
		free((void *)b);
	}
	span_end(&span);
	return NULL;
}

int main(int argc, char **argv)
{
	bool passive = !strcmp(arg(argc, argv, 1, "active"), "passive");
	int threads = (int)arg_long(argc, argv, 2, 2);
	turns = arg_long(argc, argv, 3, 20000);
	if (threads < 1 || threads > MOST)
		die("1 to 64 threads");
	void *first[MOST] = {0};
	pthread_t t[MOST];
	pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
	for (int i = 0; passive && i < threads; i++) {
		first[i] = take(8);
		*(char *)first[i] = 1;
	}
	for (int i = 0; i < threads; i++)
		t[i] = start_thread(work, first[i]);
	pthread_barrier_wait(&start);
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	uint64_t at = span.last - span.first;
	metric("time", (double)at / (double)(turns * threads) / WRITES, "ns/write");
	return finish();
}
