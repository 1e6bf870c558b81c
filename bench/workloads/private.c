/* Threads that each replace blocks of their own at random: no block ever changes hands, so what is measured is
 * what threads cost each other inside the allocator.
 *
 *   private THREADS LO HI SLOTS TURNS     turns over all threads
 */
#include "bench.h"

enum { MOST = 128 };

static size_t lo, hi, slots;
static long turns;
static pthread_barrier_t start;
static span_t span;

static void *work(void *p)
{
	rng_t r = rng_new((uint64_t)(intptr_t)p + 17);
	void **a = own_memory(slots * sizeof *a);
	pthread_barrier_wait(&start);
	span_start(&span);
	for (long k = 0; k < turns; k++) {
		size_t i = (size_t)rng_below(&r, slots);
		free(a[i]);
		size_t size = rng_size(&r, lo, hi);
		char *b = take(size);
		b[0] = b[size - 1] = 1;
		a[i] = b;
	}
	span_end(&span);
	for (size_t i = 0; i < slots; i++)
		free(a[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	long threads = arg_long(argc, argv, 1, 2);
	lo = (size_t)arg_long(argc, argv, 2, 8192);
	hi = (size_t)arg_long(argc, argv, 3, 32768);
	slots = (size_t)arg_long(argc, argv, 4, 256);
	long all = arg_long(argc, argv, 5, 1000000);
	if (threads < 1 || threads > MOST)
		die("1 to 128 threads");
	turns = all / threads;
	pthread_t t[MOST];
	pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
	for (long i = 0; i < threads; i++)
		t[i] = start_thread(work, (void *)(intptr_t)i);
	pthread_barrier_wait(&start);
	for (long i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	uint64_t at = span.last - span.first;
	metricf((double)(turns * threads) / (double)at * 1e3, "Mop/s", "%ld threads", threads);
	return finish();
}
