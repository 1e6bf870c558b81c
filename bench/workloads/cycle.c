/* Take, touch, give: a buffer a turn, every page of it written, and what that costs in time and soft faults.
 *
 *   cycle one SIZE TURNS MILLISECONDS        one size
 *   cycle mix LO HI TURNS MILLISECONDS       random sizes, eight live at a time
 *
 * Faults are counted over all turns, and over those after the first ten: what a program pays that goes on.
 * A measurement stops after the given time and divides by the turns that it made.
 */
#include "bench.h"

static void touch(char *p, size_t size)
{
	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
	keep(p);
}

int main(int argc, char **argv)
{
	bool mix = !strcmp(arg(argc, argv, 1, "one"), "mix");
	size_t lo = (size_t)arg_long(argc, argv, 2, 65536);
	size_t hi = mix ? (size_t)arg_long(argc, argv, 3, 65536) : lo;
	long turns = arg_long(argc, argv, mix ? 4 : 3, 100);
	uint64_t limit = (uint64_t)arg_long(argc, argv, mix ? 5 : 4, 4000) * 1000000u;
	enum { LIVE = 8 };
	char *live[LIVE] = {0};
	rng_t r = rng_new(3);
	enum { WARM = 10 };
	long faults = soft_faults(), warm = faults, k = 0;
	uint64_t t = now_ns();
	for (; k < turns; k++) {
		if (k == WARM)
			warm = soft_faults();
		if (mix) {
			size_t size = rng_size(&r, lo, hi);
			free(live[k % LIVE]);
			live[k % LIVE] = take(size);
			touch(live[k % LIVE], size);
		} else {
			char *p = take(lo);
			touch(p, lo);
			free(p);
		}
		if ((k & 15) == 15 && now_ns() - t > limit) {
			k++;
			break;
		}
	}
	t = now_ns() - t;
	long end = soft_faults();
	metric("time", (double)t / (double)k / 1e3, "us/turn");
	metric("faults", (double)(end - faults) / (double)k, "faults/turn");
	if (k > WARM)
		metric("faults after 10 turns", (double)(end - warm) / (double)(k - WARM), "faults/turn");
	return finish();
}
