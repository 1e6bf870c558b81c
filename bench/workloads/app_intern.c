/* A string interner, as in the heart of Lua, Python, Perl or a search engine's dictionary: each string once,
 * with a count of references, found through a table that doubles; modules that end give their strings back.
 *
 *   app_intern LOOKUPS
 */
#include "app.h"

typedef struct {
	uint32_t references, size;
	uint64_t hash;
	char text[];
} string_t;

static string_t **table, *const gone = (string_t *)8;
static size_t room = 1024, used, live;

static void rebuild(size_t bigger)
{
	string_t **fresh = zeroed(bigger, sizeof *fresh);
	for (size_t i = 0; i < room; i++) {
		string_t *s = table[i];
		if (!s || s == gone)
			continue;
		size_t k = s->hash & (bigger - 1);
		while (fresh[k])
			k = (k + 1) & (bigger - 1);
		fresh[k] = s;
	}
	free(table);
	table = fresh;
	room = bigger;
	used = live;
}

static string_t *intern(const char *text, size_t n)
{
	uint64_t hash = hash_bytes(text, n);
	size_t k = hash & (room - 1);
	for (; table[k]; k = (k + 1) & (room - 1)) {
		string_t *s = table[k];
		if (s != gone && s->hash == hash && s->size == n && !memcmp(s->text, text, n)) {
			s->references++;
			return s;
		}
	}
	string_t *s = take(sizeof *s + n + 1);
	s->references = 1;
	s->size = (uint32_t)n;
	s->hash = hash;
	memcpy(s->text, text, n);
	s->text[n] = 0;
	table[k] = s;
	used++;
	live++;
	if (used * 2 > room)
		rebuild(live * 4 > room ? room * 2 : room);
	return s;
}

static void release(string_t *s)
{
	if (--s->references)
		return;
	size_t k = s->hash & (room - 1);
	while (table[k] != s)
		k = (k + 1) & (room - 1);
	table[k] = gone;
	live--;
	free(s);
}

typedef struct {
	string_t **strings;
	size_t n, room;
} module_t;

int main(int argc, char **argv)
{
	enum { MODULES = 64 };
	long lookups = arg_long(argc, argv, 1, 1000000);
	size_t before = resident();
	rng_t r = rng_new(33);
	table = zeroed(room, sizeof *table);
	module_t modules[MODULES] = {0};
	uint64_t t = now_ns();
	for (long k = 0; k < lookups; k++) {
		if (k % 20000 == 19999) {
			module_t *m = &modules[rng_below(&r, MODULES)];
			for (size_t i = 0; i < m->n; i++)
				release(m->strings[i]);
			free(m->strings);
			*m = (module_t){0};
		}
		char text[96];
		uint64_t id = rng_skewed(&r, 3000000);
		/* Longer names are rarer, and the same id always has the same name. */
		int n = snprintf(text, sizeof text, "%llx%.*s", (unsigned long long)id * 2654435761u,
		                 id % 8 ? (int)(id % 13) : (int)(id % 61),
		                 "_get_value_of_the_property_for_internal_use_only_and_nothing_else");
		module_t *m = &modules[k / 5000 % MODULES];
		if (m->n == m->room) {
			m->room = m->room ? m->room * 2 : 16;
			m->strings = resize(m->strings, m->room * sizeof *m->strings);
		}
		m->strings[m->n++] = intern(text, (size_t)n);
	}
	t = now_ns() - t;
	app_result(t, (uint64_t)lookups, "ns/lookup", before);
	return finish();
}
