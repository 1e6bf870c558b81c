/* Resident memory over a program's phases: how much a heap holds, and what goes back to the system when.
 *
 *   curve BYTES LO HI IDLE_MS
 *
 * Fill with blocks of random sizes; idle; free nine of ten at random; idle; fill up again with blocks twice as
 * large; idle; free all; idle; a trickle of small work. The curve's x is phases, not seconds: all allocators
 * are at the same place of the program at the same x. In an idle phase the process makes no call at all, so
 * memory goes back only if it went when it was freed, or by a thread of the allocator's own.
 */
#include "bench.h"

enum { STEPS = 16 };
static const double mib = 1 << 20;
static size_t before, most, n, asked;
static void **a;
static int phase;

static double held(void)
{
	size_t now = resident();
	return now > before ? (double)(now - before) / mib : 0.0;
}

static void sample(double part) { point("resident", phase + part, held(), "MiB"); }

static void idle(unsigned ms)
{
	for (int s = 1; s <= STEPS / 2; s++) {
		usleep(ms * 1000 / (STEPS / 2));
		sample((double)s / (STEPS / 2));
	}
	phase++;
}

static void fill(rng_t *r, size_t bytes, size_t lo, size_t hi)
{
	int step = 0;
	size_t start = asked;
	while (asked < bytes && n < most) {
		size_t size = rng_size(r, lo, hi);
		a[n] = take(size);
		memset(a[n], 1, size);
		/* The order of freeing is random: the size travels in the block. */
		*(uint32_t *)a[n++] = (uint32_t)size;
		asked += size;
		if ((asked - start) * STEPS >= (bytes - start) * (size_t)(step + 1))
			sample((double)++step / STEPS);
	}
	phase++;
}

static void drop(size_t down_to)
{
	size_t start = n;
	int step = 0;
	while (n > down_to) {
		n--;
		asked -= *(uint32_t *)a[n];
		free(a[n]);
		if ((start - n) * STEPS >= (start - down_to) * (size_t)(step + 1))
			sample((double)++step / STEPS);
	}
	phase++;
}

int main(int argc, char **argv)
{
	size_t bytes = (size_t)arg_long(argc, argv, 1, 256l << 20);
	size_t lo = (size_t)arg_long(argc, argv, 2, 16), hi = (size_t)arg_long(argc, argv, 3, 4096);
	unsigned ms = (unsigned)arg_long(argc, argv, 4, 500);
	rng_t r = rng_new(5);
	most = bytes / ((lo + hi) / 2) * 11 / 10 + 1000;
	a = own_memory(most * sizeof *a);
	before = resident();
	sample(0);
	fill(&r, bytes, lo, hi);
	idle(ms);
	shuffle(a, n, &r);
	drop(n / 10);
	idle(ms);
	metric("90 % freed", held(), "MiB");
	fill(&r, bytes, lo * 2, hi * 2);
	metric("refilled, over live", held() * mib / (double)asked, "x asked");
	idle(ms);
	shuffle(a, n, &r);
	drop(0);
	idle(ms);
	metric("all freed", held(), "MiB");
	for (int s = 1; s <= STEPS / 2; s++) {
		for (int i = 0; i < 1000; i++) {
			void *p = take(rng_size(&r, 16, 512));
			keep(p);
			free(p);
		}
		usleep(ms * 1000 / (STEPS / 2));
		sample((double)s / (STEPS / 2));
	}
	metric("all freed, after a trickle of work", held(), "MiB");
	return finish();
}
