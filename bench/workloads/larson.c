/* A server's threads, after Larson and Krishnan (1998): each replaces blocks at random in its share of the
 * live set; after some rounds it passes its share to a new thread and ends, so blocks are freed by threads
 * that never took them.
 *
 *   larson MILLISECONDS LO HI BLOCKS ROUNDS THREADS
 */
#include "bench.h"

static size_t lo, hi, per_thread;
static long rounds;
static atomic_bool stop;
static _Atomic uint64_t done;
static _Atomic long running;

typedef struct {
	void **blocks;
	rng_t rng;
} share_t;

static void start(share_t *s);

static void *server(void *p)
{
	share_t *s = p;
	void **blocks = s->blocks;
	/* On the thread's own stack: the shares lie on one cache line, and each number writes to it. */
	rng_t rng = s->rng;
	uint64_t n = 0;
	for (long round = 0; round < rounds; round++) {
		for (size_t k = 0; k < per_thread; k++) {
			size_t i = (size_t)rng_below(&rng, per_thread);
			free(blocks[i]);
			size_t size = rng_size(&rng, lo, hi);
			char *b = take(size);
			b[0] = 'a';
			b[size - 1] = 'z';
			blocks[i] = b;
			n++;
			/* The clock's owner says when: looking at a shared flag now and then is nearly free. */
			if ((n & 63) == 0 && atomic_load_explicit(&stop, memory_order_relaxed))
				goto out;
		}
	}
	s->rng = rng;
	start(s);
out:
	done += n;
	running--;
	return NULL;
}

static void start(share_t *s)
{
	pthread_t t;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	running++;
	if (pthread_create(&t, &attr, server, s))
		die("cannot start a thread");
	pthread_attr_destroy(&attr);
}

int main(int argc, char **argv)
{
	long ms = arg_long(argc, argv, 1, 1000);
	lo = (size_t)arg_long(argc, argv, 2, 16);
	hi = (size_t)arg_long(argc, argv, 3, 1024);
	per_thread = (size_t)arg_long(argc, argv, 4, 5000);
	rounds = arg_long(argc, argv, 5, 100);
	long threads = arg_long(argc, argv, 6, 2);
	share_t *shares = own_memory(sizeof(share_t) * (size_t)threads);
	void **blocks = own_memory(sizeof(void *) * per_thread * (size_t)threads);

	/* The main thread takes the first blocks, in random places, as the original does. */
	for (long t = 0; t < threads; t++) {
		shares[t].blocks = blocks + per_thread * (size_t)t;
		shares[t].rng = rng_new((uint64_t)t + 4141);
		for (size_t i = 0; i < per_thread; i++) {
			shares[t].blocks[i] = take(rng_size(&shares[t].rng, lo, hi));
			*(char *)shares[t].blocks[i] = 'a';
		}
		shuffle(shares[t].blocks, per_thread, &shares[t].rng);
	}
	uint64_t at = now_ns();
	for (long t = 0; t < threads; t++)
		start(&shares[t]);
	usleep((useconds_t)(ms * 1000));
	stop = true;
	while (running)
		usleep(1000);
	at = now_ns() - at;
	metricf((double)done / (double)at * 1e3, "Mop/s", "%ld threads", threads);
	return finish();
}
