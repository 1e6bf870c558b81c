/* Loops whose instructions callgrind counts, each as a section of its own: callgrind writes its counters and
 * sets them to zero after every call of `mark`. Each loop runs with a few turns and with many, so that what
 * happens once falls out of the difference, and around two functions that do nothing, which is taken off.
 *
 *   instr      prints "section NAME TURNS CALLS" for each section, in order
 */
#include "bench.h"

#include <semaphore.h>

extern void *nothing_take();
extern void nothing_give();

enum { BATCH = 100, FEW = 20, CROSS = 1000, LIVE = 256 };

typedef struct {
	void *(*malloc)(size_t);
	void (*free)(void *);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
} calls_t;

static void *slots[CROSS];
static sem_t full, empty;
static long cross_turns;

__attribute__((noinline)) void mark(void) { __asm__ volatile(""); }

static void pair(const calls_t *c, size_t size, long turns)
{
	for (long i = 0; i < turns; i++) {
		void *p = c->malloc(size);
		keep(p);
		c->free(p);
	}
}

static void batch_of(const calls_t *c, int n, size_t size, long turns)
{
	for (long i = 0; i < turns; i += n) {
		for (int k = 0; k < n; k++)
			slots[k] = c->malloc(size);
		keep(slots);
		for (int k = n - 1; k >= 0; k--)
			c->free(slots[k]);
	}
}

static void batch(const calls_t *c, size_t size, long turns)
{
	batch_of(c, BATCH, size, turns);
}

static void few(const calls_t *c, size_t size, long turns)
{
	batch_of(c, FEW, size, turns);
}

/* Blocks of `size` to four times as much, replaced at random. */
static void replaced(const calls_t *c, size_t size, long turns)
{
	rng_t r = rng_new(size);
	for (int k = 0; k < LIVE; k++)
		slots[k] = NULL;
	for (long i = 0; i < turns; i++) {
		size_t k = (size_t)rng_below(&r, LIVE);
		c->free(slots[k]);
		slots[k] = c->malloc(rng_size(&r, size, 4 * size));
		keep(slots);
	}
	for (int k = 0; k < LIVE; k++)
		c->free(slots[k]);
}

static void zeroed(const calls_t *c, size_t size, long turns)
{
	for (long i = 0; i < turns; i++) {
		void *p = c->calloc(1, size);
		keep(p);
		c->free(p);
	}
}

/* From `size` to 16 times as much, doubling: four calls a turn. */
static void grown(const calls_t *c, size_t size, long turns)
{
	for (long i = 0; i < turns; i += 4) {
		void *p = c->malloc(size);
		for (int k = 1; k <= 4; k++) {
			p = c->realloc(p, size << k);
			keep(p);
		}
		c->free(p);
	}
}

static void *freer(void *with)
{
	const calls_t *c = with;
	for (long i = 0; i < cross_turns; i += CROSS) {
		sem_wait(&full);
		for (int k = 0; k < CROSS; k++)
			c->free(slots[k]);
		sem_post(&empty);
	}
	return NULL;
}

/* The threads take turns: while one works the other sleeps. */
static void cross(const calls_t *c, size_t size, long turns)
{
	cross_turns = turns;
	sem_init(&full, 0, 0);
	sem_init(&empty, 0, 0);
	pthread_t t = start_thread(freer, (void *)c);
	for (long i = 0; i < turns; i += CROSS) {
		for (int k = 0; k < CROSS; k++)
			slots[k] = c->malloc(size);
		sem_post(&full);
		sem_wait(&empty);
	}
	pthread_join(t, NULL);
}

int main(void)
{
	static const struct {
		const char *name;
		void (*loop)(const calls_t *, size_t, long);
		size_t size;
	} sections[] = {
	    {"pair 16 B", pair, 16},          {"pair 256 B", pair, 256},       {"pair 1024 B", pair, 1024},
	    {"pair 8192 B", pair, 8192},      {"batch of 100 x 64 B", batch, 64},
	    {"batch of 20 x 16 KiB", few, 16384},
	    {"8 - 32 KiB replaced at random", replaced, 8192},
	    {"64 - 256 KiB replaced at random", replaced, 65536},
	    {"calloc and free 64 B", zeroed, 64}, {"realloc 16 - 256 B", grown, 16}, {"freed by another thread 64 B", cross, 64},
	};
	static const long turns[] = {10000, 30000};
	const calls_t none = {(void *(*)(size_t))nothing_take, (void (*)(void *))nothing_give,
	                      (void *(*)(size_t, size_t))nothing_take, (void *(*)(void *, size_t))nothing_take};
	const calls_t real = {malloc, free, calloc, realloc};
	mark();
	for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
		for (int which = 0; which < 2; which++)
			for (int k = 0; k < 2; k++) {
				char line[128];
				int n = snprintf(line, sizeof line, "section %s\t%ld\t%s\n", sections[i].name, turns[k],
				                 which ? "real" : "none");
				if (write(1, line, (size_t)n) < 0)
					return 4;
				mark();
				sections[i].loop(which ? &real : &none, sections[i].size, turns[k]);
				mark();
			}
	return finish();
}
