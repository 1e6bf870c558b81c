/* What threads keep that have nothing to do, and the processor time of a request while they work. Each serves one
 * every few milliseconds: takes its blocks, writes to them, and frees them. Then the load goes down: one thread goes
 * on, the others sleep.
 *
 *   idle LO HI BLOCKS THREADS MILLISECONDS
 */
#include "bench.h"

enum { PAUSE_US = 2000, MOST = 4096 };

static size_t lo, hi, blocks;
static atomic_bool busy = true, wake;
static atomic_long served;

static void request(rng_t *rng)
{
	void *p[MOST];
	for (size_t i = 0; i < blocks; i++) {
		size_t size = rng_size(rng, lo, hi);
		memset(p[i] = take(size), 1, size);
	}
	for (size_t i = 0; i < blocks; i++)
		free(p[i]);
	served++;
}

/* Processor time of this process so far. */
static double cpu_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void *server(void *p)
{
	rng_t rng = rng_new((uint64_t)(uintptr_t)p);
	bool goes_on = (uintptr_t)p == 1;
	while (busy || (goes_on && !wake)) {
		request(&rng);
		usleep(PAUSE_US);
	}
	/* As a worker without work: no call until it has some. */
	while (!wake)
		usleep(10 * PAUSE_US);
	return NULL;
}

int main(int argc, char **argv)
{
	lo = (size_t)arg_long(argc, argv, 1, 16);
	hi = (size_t)arg_long(argc, argv, 2, 1024);
	blocks = (size_t)arg_long(argc, argv, 3, 2000);
	long threads = arg_long(argc, argv, 4, 32);
	long ms = arg_long(argc, argv, 5, 3000);
	if (blocks > MOST)
		die("so many blocks do not fit into a request");
	pthread_t *t = own_memory(sizeof(pthread_t) * (size_t)threads);
	for (long i = 0; i < threads; i++)
		t[i] = start_thread(server, (void *)(i + 1));
	usleep((useconds_t)(ms * 500));
	metric("cpu", cpu_us() / (double)(served ? served : 1), "us/request");
	metric("busy", (double)resident() / (1 << 20), "MiB");
	busy = false;
	usleep((useconds_t)(ms * 1000));
	metric("idle", (double)resident() / (1 << 20), "MiB");
	wake = true;
	for (long i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	return finish();
}
