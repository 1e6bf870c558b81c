/* A service that parses JSON documents into trees, keeps the last few, changes some and writes them out, as
 * with cJSON or a document store: a node of 48 bytes a value, a string a key, arrays that grow by realloc, and
 * whole trees that die at once, in the order in which they were read.
 *
 *   app_json DOCUMENTS
 */
#include "app.h"

typedef enum { NUMBER, STRING, ARRAY, OBJECT } type_t;

typedef struct value {
	type_t type;
	uint32_t n, room;
	char *key;
	union {
		double number;
		char *string;
		struct value **items;
	};
	size_t length;
} value_t;

static char *text;
static size_t text_size;
static rng_t r;

/* A document of about `size` bytes, written into the harness's own memory. */
static void put(const char *s)
{
	size_t n = strlen(s);
	memcpy(text + text_size, s, n);
	text_size += n;
}

static void write_document(int depth, size_t size)
{
	static const char *words[] = {"id", "name", "created_at", "description", "tags", "owner", "url", "location", "score", "replies"};
	size_t end = text_size + size;
	bool object = depth & 1;
	put(object ? "{" : "[");
	for (int i = 0; i == 0 || text_size < end; i++) {
		char scratch[160];
		if (i)
			put(",");
		if (object) {
			snprintf(scratch, sizeof scratch, "\"%s%d\":", words[rng_below(&r, 10)], i);
			put(scratch);
		}
		uint64_t what = rng_below(&r, 10);
		if (depth < 6 && size > 200 && what < 4) {
			write_document(depth + 1, size / 6);
		} else if (what < 7) {
			snprintf(scratch, sizeof scratch, "\"%.*s\"", (int)rng_log_size(&r, 4, 128),
			         "the quick brown fox jumps over the lazy dog and runs away into the deep dark forest where no one "
			         "ever finds it again at all");
			put(scratch);
		} else {
			snprintf(scratch, sizeof scratch, "%llu", (unsigned long long)rng_below(&r, 1000000));
			put(scratch);
		}
	}
	put(object ? "}" : "]");
}

static char *parse_string(const char **p)
{
	const char *from = ++*p;
	while (**p != '"')
		++*p;
	size_t n = (size_t)(*p - from);
	char *s = take(n + 1);
	memcpy(s, from, n);
	s[n] = 0;
	++*p;
	return s;
}

static value_t *parse(const char **p)
{
	value_t *v = zeroed(1, sizeof *v);
	if (**p == '"') {
		v->type = STRING;
		v->string = parse_string(p);
		return v;
	}
	if (**p != '{' && **p != '[') {
		v->type = NUMBER;
		v->number = strtod(*p, (char **)p);
		return v;
	}
	v->type = **p == '{' ? OBJECT : ARRAY;
	do {
		++*p;
		char *key = NULL;
		if (v->type == OBJECT) {
			key = parse_string(p);
			++*p;
		}
		if (v->n == v->room) {
			v->room = v->room ? v->room * 2 : 4;
			v->items = resize(v->items, v->room * sizeof *v->items);
		}
		v->items[v->n] = parse(p);
		v->items[v->n++]->key = key;
	} while (**p == ',');
	++*p;
	return v;
}

static void drop(value_t *v)
{
	free(v->key);
	if (v->type == STRING)
		free(v->string);
	else if (v->type != NUMBER) {
		for (uint32_t i = 0; i < v->n; i++)
			drop(v->items[i]);
		free(v->items);
	}
	free(v);
}

static struct {
	char *at;
	size_t n, room;
} out;

static void append(const char *s, size_t n)
{
	if (out.n + n > out.room) {
		out.room = out.room ? out.room * 2 : 256;
		while (out.room < out.n + n)
			out.room *= 2;
		out.at = resize(out.at, out.room);
	}
	memcpy(out.at + out.n, s, n);
	out.n += n;
}

static void write_out(value_t *v)
{
	if (v->key)
		append(v->key, strlen(v->key));
	if (v->type == STRING) {
		append(v->string, strlen(v->string));
	} else if (v->type == NUMBER) {
		char scratch[32];
		append(scratch, (size_t)snprintf(scratch, sizeof scratch, "%.0f", v->number));
	} else {
		for (uint32_t i = 0; i < v->n; i++)
			write_out(v->items[i]);
	}
}

/* Every fifth string gets a longer text. */
static void change(value_t *v)
{
	if (v->type == STRING) {
		if (rng_below(&r, 5) == 0) {
			size_t n = strlen(v->string);
			v->string = resize(v->string, n * 2 + 8);
			memset(v->string + n, 'x', n + 7);
			v->string[n * 2 + 7] = 0;
		}
	} else if (v->type != NUMBER) {
		for (uint32_t i = 0; i < v->n; i++)
			change(v->items[i]);
	}
}

int main(int argc, char **argv)
{
	enum { DOCUMENTS = 8, KEPT = 32 };
	long documents = arg_long(argc, argv, 1, 200);
	text = own_memory(4 << 20);
	size_t starts[DOCUMENTS + 1];
	r = rng_new(9);
	for (int i = 0; i < DOCUMENTS; i++) {
		starts[i] = text_size;
		write_document(0, 8192u << (i % 4));
	}
	starts[DOCUMENTS] = text_size;
	size_t before = resident();
	value_t *kept[KEPT] = {0};
	char *written[KEPT] = {0};
	uint64_t parsed = 0, t = now_ns();
	for (long k = 0; k < documents; k++) {
		int slot = (int)(k % KEPT), d = (int)rng_below(&r, DOCUMENTS);
		if (kept[slot])
			drop(kept[slot]);
		free(written[slot]);
		const char *p = text + starts[d];
		kept[slot] = parse(&p);
		parsed += starts[d + 1] - starts[d];
		change(kept[slot]);
		out.at = NULL;
		out.n = out.room = 0;
		write_out(kept[slot]);
		written[slot] = resize(out.at, out.n);
	}
	t = now_ns() - t;
	app_result(t, parsed / 1024, "ns/KiB", before);
	return finish();
}
