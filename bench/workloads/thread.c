/* Starting and joining a thread that takes and frees a few blocks: what a thread's heap costs to make and drop.
 *
 *   thread N
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

int main(int argc, char **argv)
{
	long n = arg_long(argc, argv, 1, 2000);
	uint64_t best = UINT64_MAX;
	for (int s = 0; s < 5; s++) {
		uint64_t at = now_ns();
		for (long i = 0; i < n / 5; i++) {
			pthread_t t;
			if (pthread_create(&t, NULL, work, NULL))
				die("cannot start a thread");
			pthread_join(t, NULL);
		}
		at = now_ns() - at;
		if (at < best)
			best = at;
	}
	metric("start and join", (double)best / (double)(n / 5) / 1e3, "us/thread");
	return finish();
}
