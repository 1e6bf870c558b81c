/* Threads that come and go: what a thread's heap costs to make and drop, and what is left of it.
 *
 *   thread join N     a thread that takes and frees a few blocks, started and joined, one after the other
 *   thread churn N    N short threads, eight at a time; each leaves blocks behind that outlive it, and frees
 *                     some that threads before it have left
 */
#include "bench.h"

static void *work(void *unused)
{
	(void)unused;
	for (int i = 0; i < 16; i++) {
		void *p = take((size_t)16 << (i % 7));
		keep(p);
		free(p);
	}
	return NULL;
}

static void join(long n)
{
	uint64_t best = UINT64_MAX;
	for (int s = 0; s < 5; s++) {
		uint64_t at = now_ns();
		for (long i = 0; i < n / 5; i++)
			pthread_join(start_thread(work, NULL), NULL);
		at = now_ns() - at;
		if (at < best)
			best = at;
	}
	metric("start and join", (double)best / (double)(n / 5) / 1e3, "us/thread");
}

enum { AT_ONCE = 8, LEFT = 20, LATER = 400 };

/* What the threads leave: thread i frees what thread i - LATER has left. */
static void **left;

static void *short_life(void *p)
{
	long i = (long)(intptr_t)p;
	rng_t r = rng_new((uint64_t)i);
	void *own[64];
	for (int k = 0; k < 64; k++) {
		size_t size = rng_size(&r, 16, 2048);
		own[k] = take(size);
		memset(own[k], 1, size);
	}
	for (int k = 0; k < LEFT; k++) {
		size_t size = rng_size(&r, 16, 512);
		left[i * LEFT + k] = take(size);
		memset(left[i * LEFT + k], 1, size);
	}
	for (int k = 0; k < 64; k++)
		free(own[k]);
	if (i >= LATER)
		for (int k = 0; k < LEFT; k++) {
			free(left[(i - LATER) * LEFT + k]);
			left[(i - LATER) * LEFT + k] = NULL;
		}
	return NULL;
}

static void churn(long n)
{
	left = own_memory((size_t)n * LEFT * sizeof *left);
	size_t before = resident();
	pthread_t t[AT_ONCE];
	uint64_t at = now_ns();
	for (long i = 0; i < n; i += AT_ONCE) {
		for (int k = 0; k < AT_ONCE; k++)
			t[k] = start_thread(short_life, (void *)(intptr_t)(i + k));
		for (int k = 0; k < AT_ONCE; k++)
			pthread_join(t[k], NULL);
	}
	at = now_ns() - at;
	metric("time", (double)at / (double)n / 1e3, "us/thread");
	size_t after = resident();
	metric("resident at the end", after > before ? (double)(after - before) / (1 << 20) : 0.0, "MiB");
	for (long i = 0; i < n * LEFT; i++)
		free(left[i]);
}

int main(int argc, char **argv)
{
	long n = arg_long(argc, argv, 2, 2000);
	if (!strcmp(arg(argc, argv, 1, "join"), "churn"))
		churn(n / AT_ONCE * AT_ONCE);
	else
		join(n);
	return finish();
}
