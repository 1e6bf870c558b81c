/* Nine programs that want different things of an allocator: what one should keep resident when it is free, whether
 * to make large blocks resident ahead, how far to let a buffer grow. No fixed setting suits them all.
 *
 *   learn NAME MILLISECONDS
 *
 * Each keeps a pace of its own, so that its wall time says nothing and its CPU time and its resident memory over
 * time say all; each writes what it takes and reads it back, and the checksum is the same whoever allocates. The
 * work is the same in every process: a pace that cannot be kept makes a run longer, not shorter.
 */
#include "learn.h"

/* Taken up by the blocks' contents; threads add to it at their end. */
static _Atomic uint64_t checksum;

/* --- periodic: a frame of video and a request's body, over and over from the same two places */

static void periodic(uint64_t length)
{
	const uint64_t beat = 20 * MS;
	rng_t r = rng_new(11);
	uint64_t t = now_ns();
	for (uint64_t k = 0; k < length / beat; k++, t += beat) {
		size_t frame_size = 24 * MIB, body_size = rng_size(&r, 5900 * KIB, 6000 * KIB);
		char *body = TAKE(body_size);
		fill(body, body_size, k);
		char *frame = TAKE(frame_size);
		fill(frame, frame_size, k);
		checksum += sum(body, body_size) + sum(frame, frame_size);
		free(body);
		/* The frame is on the screen. */
		beat_until(t + beat * 3 / 4);
		free(frame);
		beat_until(t + beat);
	}
}

/* --- giants: large blocks from many places, each of which comes back when it has long been forgotten */

/* The number makes the functions differ: the compiler folds those that do not. */
#define GIANT(n) \
	__attribute__((noinline)) static void giant_##n(size_t size) \
	{ \
		char *p = TAKE(size); \
		fill(p, size, n); \
		checksum += sum(p, size); \
		free(p); \
	}
#define GIANTS(X) \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) \
	X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
GIANTS(GIANT)

/* A list of small blocks, read and freed: what goes on between the giants. */
static void small_work(rng_t *r, size_t n)
{
	struct item {
		struct item *next;
		size_t size;
	} *list = NULL;
	while (n-- > 0) {
		size_t size = rng_size(r, sizeof(struct item), 512);
		struct item *i = TAKE(size);
		fill(i, size, n);
		i->next = list;
		i->size = size;
		list = i;
	}
	while (list) {
		struct item *next = list->next;
		checksum += sum(list + 1, list->size - sizeof *list);
		free(list);
		list = next;
	}
}

static void giants(uint64_t length)
{
#define GIANT_NAME(n) giant_##n,
	static void (*const places[])(size_t) = {GIANTS(GIANT_NAME)};
	const uint64_t beat = 80 * MS;
	rng_t r = rng_new(12);
	uint64_t t = now_ns();
	for (uint64_t k = 0; k < length / beat; k++, t += beat) {
		places[k % (sizeof places / sizeof *places)](rng_size(&r, 8 * MIB, 30 * MIB));
		for (int part = 1; part <= 4; part++) {
			small_work(&r, 3000);
			beat_until(t + beat * (uint64_t)part / 4);
		}
	}
}

/* --- sparse: a solver's matrices, of which the same few pages are used in each step */

enum { PAGE = 4096 };

typedef struct {
	size_t size, n;
	uint32_t *pages;
} pattern_t;

/* The pages of a block that hold anything: so many of a hundred, anywhere. */
static pattern_t pattern(size_t size, uint64_t percent, uint64_t seed)
{
	rng_t r = rng_new(seed);
	size_t most = size / PAGE;
	pattern_t p = {size, 0, own_memory(most * sizeof *p.pages)};
	for (size_t i = 0; i < most; i++)
		if (rng_below(&r, 100) < percent)
			p.pages[p.n++] = (uint32_t)i;
	return p;
}

static void sparse(uint64_t length)
{
	const uint64_t beat = 10 * MS;
	pattern_t values = pattern(24 * MIB, 4, 1), factor = pattern(64 * MIB, 2, 2), counts = pattern(16 * MIB, 3, 3);
	uint64_t t = now_ns();
	for (uint64_t k = 0; k < length / beat; k++, t += beat) {
		char *v = TAKE(values.size), *f = TAKE(factor.size);
		/* Counted in: this one has to be zero. */
		char *c = checked(calloc(counts.size / 8, 8));
		for (size_t i = 0; i < values.n; i++)
			fill(v + (size_t)values.pages[i] * PAGE, PAGE, k + i);
		for (size_t i = 0; i < factor.n; i++) {
			const char *from = v + (size_t)values.pages[i % values.n] * PAGE;
			fill(f + (size_t)factor.pages[i] * PAGE, PAGE, sum(from, PAGE));
		}
		uint64_t s = 0;
		for (size_t i = 0; i < counts.n; i++) {
			uint64_t *count = (uint64_t *)(void *)(c + (size_t)counts.pages[i] * PAGE);
			*count += i + k;
			s += sum(count, PAGE);
		}
		for (size_t i = 0; i < factor.n; i++)
			s += sum(f + (size_t)factor.pages[i] * PAGE, PAGE);
		checksum += s;
		beat_until(t + beat * 3 / 4);
		free(c);
		free(f);
		free(v);
		beat_until(t + beat);
	}
}

/* --- dense: images on their way through three stages, each of which holds one */

typedef struct {
	char *pixels;
	size_t size;
} image_t;

/* A stage's new image takes the place of its former one. */
static void pass_on(image_t *stage, char *pixels, size_t size)
{
	free(stage->pixels);
	*stage = (image_t){pixels, size};
}

static void dense(uint64_t length)
{
	/* Albums from three cameras; the scaled image is packed, so its size differs a little each time. */
	static const size_t sizes[] = {8 * MIB, 15 * MIB, 5 * MIB};
	enum { ALBUM = 24 };
	const uint64_t beat = 25 * MS;
	image_t decoded = {0}, filtered = {0}, scaled = {0};
	rng_t r = rng_new(14);
	uint64_t t = now_ns();
	for (uint64_t k = 0; k < length / beat; k++, t += beat) {
		size_t size = sizes[k / ALBUM % (sizeof sizes / sizeof *sizes)];
		if (filtered.size > 0) {
			size_t packed = rng_size(&r, filtered.size * 48 / 100, filtered.size / 2);
			uint64_t *to = TAKE(packed);
			const uint64_t *from = (const uint64_t *)(const void *)filtered.pixels;
			for (size_t i = 0; i < packed / 8; i++)
				to[i] = (from[2 * i] >> 1) + (from[2 * i + 1] >> 1);
			pass_on(&scaled, (char *)to, packed);
			checksum += sum(to, packed / 8 * 8);
		}
		if (decoded.size > 0) {
			uint64_t *to = TAKE(decoded.size);
			const uint64_t *from = (const uint64_t *)(const void *)decoded.pixels;
			size_t n = decoded.size / 8;
			for (size_t i = 0; i < n; i++)
				to[i] = from[i] + (from[i ? i - 1 : 0] ^ from[i + 1 < n ? i + 1 : i]);
			pass_on(&filtered, (char *)to, decoded.size);
		}
		char *pixels = TAKE(size);
		fill(pixels, size, k);
		pass_on(&decoded, pixels, size);
		beat_until(t + beat);
	}
	free(decoded.pixels);
	free(filtered.pixels);
	free(scaled.pixels);
}

/* --- vectors: two at a time grow by half, some to kilobytes and some to megabytes; a few are kept */

typedef struct {
	char *p;
	size_t used, room, end;
	uint64_t seed;
} vector_t;

static void append(vector_t *v, size_t n)
{
	if (v->used + n > v->room) {
		while (v->used + n > v->room)
			v->room = v->room ? v->room + v->room / 2 : 64;
		v->p = checked(realloc(v->p, v->room));
	}
	fill(v->p + v->used, n, v->seed + v->used);
	v->used += n;
}

static void vectors(uint64_t length)
{
	enum { KEPT = 4, CHUNK = 1024 };
	const uint64_t beat = 25 * MS;
	vector_t kept[KEPT] = {{0}};
	rng_t r = rng_new(15);
	uint64_t t = now_ns();
	for (uint64_t k = 0; k < length / beat; k++, t += beat) {
		vector_t two[2] = {{0}};
		for (int i = 0; i < 2; i++) {
			/* A quarter are small: those have their cost in calls, not in pages. */
			size_t least = rng_below(&r, 4) ? 1 * MIB : 100 * KIB;
			two[i].end = rng_log_size(&r, least, least * 16) / CHUNK * CHUNK;
			two[i].seed = k;
		}
		while (two[0].used < two[0].end || two[1].used < two[1].end)
			for (int i = 0; i < 2; i++)
				if (two[i].used < two[i].end)
					append(&two[i], two[i].used < CHUNK ? 64 : CHUNK);
		for (int i = 0; i < 2; i++) {
			vector_t *oldest = &kept[(2 * k + (uint64_t)i) % KEPT];
			if (oldest->p)
				checksum += sum(oldest->p, oldest->used);
			free(oldest->p);
			*oldest = two[i];
		}
		beat_until(t + beat);
	}
	for (int i = 0; i < KEPT; i++)
		free(kept[i].p);
}

/* --- phases: one program that does one thing after the other */

typedef struct node {
	struct node *less, *more;
	uint64_t key;
	char text[];
} node_t;

static uint64_t drop_tree(node_t *n)
{
	if (!n)
		return 0;
	uint64_t s = n->key + drop_tree(n->less) + drop_tree(n->more) + (unsigned char)n->text[0];
	free(n);
	return s;
}

static void trees(uint64_t length)
{
	enum { NODES = 8000 };
	const uint64_t beat = 16 * MS;
	rng_t r = rng_new(16);
	uint64_t t = now_ns();
	for (uint64_t k = 0; k < length / beat; k++, t += beat) {
		node_t *root = NULL;
		for (int i = 0; i < NODES; i++) {
			size_t text = rng_size(&r, 8, 200);
			node_t *n = TAKE(sizeof *n + text);
			*n = (node_t){NULL, NULL, rng_next(&r)};
			memset(n->text, (int)(n->key & 127), text);
			node_t **at = &root;
			while (*at)
				at = n->key < (*at)->key ? &(*at)->less : &(*at)->more;
			*at = n;
		}
		beat_until(t + beat * 3 / 4);
		checksum += drop_tree(root);
		beat_until(t + beat);
	}
}

static void phases(uint64_t length)
{
	static void (*const parts[])(uint64_t) = {periodic, giants, trees, periodic};
	for (int i = 0; i < 4; i++) {
		point("phase", (double)(now_ns() - began) / 1e9, i, "phase");
		parts[i](length / 4);
	}
}

/* --- cache: entries that stay for long, born among the short-lived memory of requests */

static void cache(uint64_t length)
{
	enum { ENTRIES = 4096, REQUESTS = 6, BLOCKS = 200, STAY = 8, EXPIRE = 64 };
	typedef struct {
		char *p;
		size_t size;
	} block_t;
	const uint64_t beat = 8 * MS;
	block_t *entries = own_memory(ENTRIES * sizeof *entries);
	block_t *brief = own_memory(REQUESTS * BLOCKS * sizeof *brief);
	rng_t r = rng_new(17);
	uint64_t t = now_ns(), s = 0;
	for (uint64_t k = 0; k < length / beat; k++, t += beat) {
		/* Six requests at a time are answered. */
		for (int i = 0; i < REQUESTS * BLOCKS; i++) {
			size_t size = rng_log_size(&r, 64, 16 * KIB);
			char *p = TAKE(size);
			fill(p, size, k);
			if (i % STAY) {
				brief[i] = (block_t){p, size};
				continue;
			}
			brief[i] = (block_t){0};
			block_t *e = &entries[rng_below(&r, ENTRIES)];
			if (e->p)
				s += sum(e->p, e->size);
			free(e->p);
			*e = (block_t){p, size};
		}
		beat_until(t + beat / 2);
		for (int i = 0; i < REQUESTS * BLOCKS; i++) {
			if (brief[i].p)
				s += sum(brief[i].p, brief[i].size);
			free(brief[i].p);
		}
		/* Now and then a third of the entries is out of date. */
		if (k % EXPIRE == EXPIRE - 1)
			for (int i = 0; i < ENTRIES; i++)
				if (rng_below(&r, 3) == 0) {
					free(entries[i].p);
					entries[i] = (block_t){0};
				}
		beat_until(t + beat);
	}
	for (int i = 0; i < ENTRIES; i++)
		free(entries[i].p);
	checksum += s;
}

/* --- bursts: a query builds tables of small blocks and drops them; then nobody asks for a while */

static void bursts(uint64_t length)
{
	typedef struct row {
		struct row *next;
		size_t size;
		uint64_t data[];
	} row_t;
	enum { BUCKETS = 1 << 14 };
	const uint64_t beat = 400 * MS;
	row_t **table = own_memory(BUCKETS * sizeof *table);
	rng_t r = rng_new(18);
	uint64_t t = now_ns(), s = 0;
	for (uint64_t k = 0; k < length / beat; k++, t += beat) {
		for (int query = 0; query < 2; query++) {
			size_t limit = rng_size(&r, 30 * MIB, 60 * MIB);
			for (size_t bytes = 0; bytes < limit;) {
				size_t size = rng_log_size(&r, 16, 1024) / 8 * 8;
				row_t *row = TAKE(sizeof *row + size);
				row_t **bucket = &table[rng_below(&r, BUCKETS)];
				fill(row->data, size, bytes);
				row->size = size;
				row->next = *bucket;
				*bucket = row;
				bytes += sizeof *row + size;
			}
			look();
			for (int b = 0; b < BUCKETS; b++) {
				for (row_t *row = table[b], *next; row; row = next) {
					next = row->next;
					s += sum(row->data, row->size);
					free(row);
				}
				table[b] = NULL;
			}
			look();
		}
		beat_until(t + beat);
	}
	checksum += s;
}

/* --- pool: two workers have nearly all the work, six wake up now and then */

enum { WORKERS = 8, BUSY = 2, INBOX = 4096 };

typedef struct {
	pthread_mutex_t lock;
	size_t n;
	void *blocks[INBOX];
	uint64_t length;
	int number;
} worker_t;

static worker_t *workers;

/* The block begins with its size. */
static uint64_t consume(void *p)
{
	size_t size = *(size_t *)p;
	uint64_t s = sum((size_t *)p + 1, size - sizeof size);
	free(p);
	return s;
}

static uint64_t empty_inbox(worker_t *w)
{
	uint64_t s = 0;
	pthread_mutex_lock(&w->lock);
	while (w->n > 0)
		s += consume(w->blocks[--w->n]);
	pthread_mutex_unlock(&w->lock);
	return s;
}

/* Gives a block to another worker; one that already has too many leaves it here. */
static bool hand_over(worker_t *to, void *p)
{
	pthread_mutex_lock(&to->lock);
	bool room = to->n < INBOX;
	if (room)
		to->blocks[to->n++] = p;
	pthread_mutex_unlock(&to->lock);
	return room;
}

static void *work(void *with)
{
	enum { BATCH = 5000, HAND = 32 };
	worker_t *w = with;
	uint64_t beat = w->number < BUSY ? 10 * MS : (uint64_t)(180 + 20 * w->number) * MS;
	void **batch = own_memory(BATCH * sizeof *batch);
	rng_t r = rng_new((uint64_t)w->number + 19);
	uint64_t t = now_ns(), s = 0;
	for (uint64_t k = 0; k < w->length / beat; k++, t += beat) {
		sleep_until(t);
		s += empty_inbox(w);
		for (size_t i = 0; i < BATCH; i++) {
			size_t size = rng_log_size(&r, 16, 2048);
			batch[i] = TAKE(size);
			fill(batch[i], size, i);
			*(size_t *)batch[i] = size;
		}
		sleep_until(t + beat / 4);
		for (size_t i = 0; i < BATCH; i++) {
			size_t to = ((size_t)w->number + 1 + rng_below(&r, WORKERS - 1)) % WORKERS;
			if (i % HAND || !hand_over(&workers[to], batch[i]))
				s += consume(batch[i]);
		}
	}
	checksum += s;
	return NULL;
}

static void pool(uint64_t length)
{
	workers = own_memory(WORKERS * sizeof *workers);
	pthread_t t[WORKERS];
	uint64_t begin = now_ns();
	for (int i = 0; i < WORKERS; i++) {
		pthread_mutex_init(&workers[i].lock, NULL);
		workers[i].number = i;
		workers[i].length = length;
	}
	for (int i = 0; i < WORKERS; i++)
		t[i] = start_thread(work, &workers[i]);
	for (uint64_t past = 0; past < length; past += 10 * MS)
		beat_until(begin + past);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < WORKERS; i++)
		checksum += empty_inbox(&workers[i]);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(uint64_t);
	} all[] = {{"periodic", periodic}, {"giants", giants}, {"sparse", sparse}, {"dense", dense}, {"vectors", vectors},
	           {"phases", phases},     {"cache", cache},   {"bursts", bursts}, {"pool", pool}};
	const char *name = arg(argc, argv, 1, "periodic");
	uint64_t length = (uint64_t)arg_long(argc, argv, 2, 2500) * MS;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (strcmp(name, all[i].name))
			continue;
		look_begin();
		all[i].run(length);
		look_end();
		/* 48 bits: exact as a figure among the others. */
		char line[64];
		int n = snprintf(line, sizeof line, "metric checksum\t%llu\tchecksum\n",
		                 (unsigned long long)(checksum & 0xffffffffffffu));
		if (write(1, line, (size_t)n) < 0)
			return 4;
		return finish();
	}
	die("no workload of this name");
}
