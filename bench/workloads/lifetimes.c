/* What it would be worth to know how long a block will live. Requests take blocks, of which one in eight stays in a
 * table for long; now and then a request takes many times as many, and a third of the table goes out of date.
 *
 *   lifetimes WAY ENTRIES LO HI TIMES
 *
 *   mixed    all blocks come from one thread's heap
 *   apart    those that will stay come from another thread's: what an allocator could do that is never wrong
 *   random   as many come from there, whichever: what a second heap costs
 *
 * A block goes back to where it came from, so no block is freed by another thread.
 */
#include "bench.h"

enum { BEATS = 640, BLOCKS = 1200, STAY = 8, EXPIRE = 64 };

typedef struct {
	char *p;
	size_t size;
	bool theirs;
} block_t;

/* The other thread does one thing at a time, and this one waits for it. */
enum { NOTHING, TAKE, GIVE, END };
static _Atomic int order;
static void *handed;
static size_t wanted;

static void *other(void *unused)
{
	(void)unused;
	for (;;) {
		int what = atomic_load_explicit(&order, memory_order_acquire);
		if (what == NOTHING) {
			sched_yield();
			continue;
		}
		if (what == END)
			return NULL;
		if (what == TAKE)
			handed = take(wanted);
		else
			free(handed);
		atomic_store_explicit(&order, NOTHING, memory_order_release);
	}
}

static void tell(int what)
{
	atomic_store_explicit(&order, what, memory_order_release);
	while (atomic_load_explicit(&order, memory_order_acquire) != NOTHING)
		sched_yield();
}

static size_t live;

static block_t take_block(size_t size, bool theirs)
{
	if (theirs) {
		wanted = size;
		tell(TAKE);
	} else {
		handed = take(size);
	}
	memset(handed, 1, size);
	live += size;
	return (block_t){handed, size, theirs};
}

static void give_block(block_t *b)
{
	if (!b->p)
		return;
	live -= b->size;
	handed = b->p;
	if (b->theirs)
		tell(GIVE);
	else
		free(handed);
	*b = (block_t){0};
}

/* As many sizes between two powers of two as between the next two. */
static size_t any_size(rng_t *r, size_t lo, size_t hi)
{
	size_t doublings = 0;
	while (lo << (doublings + 1) <= hi)
		doublings++;
	size_t low = lo << rng_below(r, doublings);
	return rng_size(r, low, 2 * low - 1);
}

int main(int argc, char **argv)
{
	const char *way = arg(argc, argv, 1, "mixed");
	bool apart = !strcmp(way, "apart"), random = !strcmp(way, "random");
	size_t entries = (size_t)arg_long(argc, argv, 2, 4096);
	size_t lo = (size_t)arg_long(argc, argv, 3, 64), hi = (size_t)arg_long(argc, argv, 4, 16384);
	size_t times = (size_t)arg_long(argc, argv, 5, 1);
	block_t *table = own_memory(entries * sizeof *table), *brief = own_memory(BLOCKS * times * sizeof *brief);
	rng_t r = rng_new(19);
	pthread_t helper = start_thread(other, NULL);
	size_t before = resident();
	double held = 0, asked = 0;
	for (size_t k = 0; k < BEATS; k++) {
		size_t n = k % EXPIRE == EXPIRE / 2 ? BLOCKS * times : BLOCKS;
		for (size_t i = 0; i < n; i++) {
			bool stays = i % STAY == 0, lot = rng_below(&r, STAY) == 0;
			brief[i] = take_block(any_size(&r, lo, hi), apart ? stays : random && lot);
			if (stays) {
				block_t *entry = &table[rng_below(&r, entries)];
				give_block(entry);
				*entry = brief[i];
				brief[i] = (block_t){0};
			}
		}
		for (int half = 0; half < 2; half++) {
			/* At the request's end, and between two. */
			if (k % 4 == 1) {
				held += (double)(resident() - before);
				asked += (double)live;
			}
			for (size_t i = 0; i < n; i++)
				give_block(&brief[i]);
		}
		for (size_t i = 0; k % EXPIRE == EXPIRE - 1 && i < entries; i++)
			if (rng_below(&r, 3) == 0)
				give_block(&table[i]);
	}
	metric("resident", held / asked, "x asked");
	for (size_t i = 0; i < entries; i++)
		give_block(&table[i]);
	atomic_store_explicit(&order, END, memory_order_release);
	pthread_join(helper, NULL);
	return finish();
}
