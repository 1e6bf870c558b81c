/* A cache like Redis or memcached: a hash table of entries with a key and a value each, a bound on memory, and
 * eviction of what was used least recently. Key and value sizes after the ETC pool of Atikoglu et al. (2012):
 * keys of 16 - 40 bytes, most values small, a few of kilobytes. Seven of ten operations read (and fill in what
 * is missing), a quarter overwrite, often with another size, the rest delete.
 *
 *   app_kv OPERATIONS MIB
 */
#include "app.h"

typedef struct entry {
	struct entry *chain, *newer, *older;
	uint64_t hash;
	char *key, *value;
	uint32_t key_size, value_size;
} entry_t;

static entry_t **table, ends;
static size_t buckets = 1024, entries, bytes;
static rng_t r;

static void unlink_age(entry_t *e)
{
	e->newer->older = e->older;
	e->older->newer = e->newer;
}

static void link_newest(entry_t *e)
{
	e->older = ends.older;
	e->newer = &ends;
	ends.older->newer = e;
	ends.older = e;
}

static entry_t **find(const char *key, size_t n, uint64_t hash)
{
	entry_t **e = &table[hash & (buckets - 1)];
	while (*e && ((*e)->hash != hash || (*e)->key_size != n || memcmp((*e)->key, key, n)))
		e = &(*e)->chain;
	return e;
}

static void drop(entry_t **at)
{
	entry_t *e = *at;
	*at = e->chain;
	unlink_age(e);
	bytes -= sizeof *e + e->key_size + e->value_size;
	entries--;
	free(e->key);
	free(e->value);
	free(e);
}

static void double_table(void)
{
	entry_t **bigger = zeroed(buckets * 2, sizeof *bigger);
	for (size_t i = 0; i < buckets; i++)
		for (entry_t *e = table[i], *next; e; e = next) {
			next = e->chain;
			entry_t **to = &bigger[e->hash & (buckets * 2 - 1)];
			e->chain = *to;
			*to = e;
		}
	free(table);
	table = bigger;
	buckets *= 2;
}

static size_t value_size(void) { return rng_below(&r, 50) ? rng_log_size(&r, 8, 512) : rng_log_size(&r, 512, 16384); }

static void insert(const char *key, size_t n, uint64_t hash)
{
	if (entries >= buckets)
		double_table();
	entry_t *e = take(sizeof *e);
	e->hash = hash;
	e->key_size = (uint32_t)n;
	e->key = take(n);
	memcpy(e->key, key, n);
	e->value_size = (uint32_t)value_size();
	e->value = take(e->value_size);
	memset(e->value, 'v', e->value_size);
	entry_t **to = &table[hash & (buckets - 1)];
	e->chain = *to;
	*to = e;
	link_newest(e);
	entries++;
	bytes += sizeof *e + n + e->value_size;
}

int main(int argc, char **argv)
{
	long operations = arg_long(argc, argv, 1, 500000);
	size_t limit = (size_t)arg_long(argc, argv, 2, 64) << 20;
	size_t before = resident();
	uint64_t sum = 0;
	/* Twice as many keys as fit. */
	uint64_t keys = limit / 150;
	r = rng_new(1);
	ends.older = ends.newer = &ends;
	table = zeroed(buckets, sizeof *table);
	uint64_t t = now_ns();
	for (long k = 0; k < operations; k++) {
		char key[48];
		uint64_t id = rng_skewed(&r, keys);
		int n = snprintf(key, sizeof key, "user:%llu:%.*s", (unsigned long long)id * 7919, (int)(id % 20),
		                 "profile:session:data");
		uint64_t hash = hash_bytes(key, (size_t)n);
		entry_t **e = find(key, (size_t)n, hash);
		uint64_t what = rng_below(&r, 100);
		if (!*e) {
			if (what < 95)
				insert(key, (size_t)n, hash);
		} else if (what < 70) {
			sum += (unsigned char)(*e)->value[0];
			unlink_age(*e);
			link_newest(*e);
		} else if (what < 95) {
			size_t size = value_size();
			bytes += size - (*e)->value_size;
			(*e)->value = resize((*e)->value, size);
			(*e)->value_size = (uint32_t)size;
			memset((*e)->value, 'w', size);
		} else {
			drop(e);
		}
		while (bytes > limit)
			drop(find(ends.newer->key, ends.newer->key_size, ends.newer->hash));
	}
	t = now_ns() - t;
	keep(&sum);
	app_result(t, (uint64_t)operations, "ns/op", before);
	return finish();
}
