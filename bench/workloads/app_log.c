/* A log pipeline over threads, as in fluentd or a web server's access log: a reader takes a buffer a line,
 * parsers split it into a record of fields and free it, a writer formats records into batches and frees the
 * record and all its fields. Nearly every block is freed by another thread than the one that took it.
 *
 *   app_log LINES PARSERS
 */
#include "app.h"
#include "ring.h"

enum { PARSERS = 8, FIELDS = 10, BATCH = 1 << 18 };

typedef struct {
	int n;
	char *fields[FIELDS];
} record_t;

static ring_t lines[PARSERS], records[PARSERS];
static long per_parser;

static void *parser(void *p)
{
	int me = (int)(intptr_t)p;
	for (long k = 0; k < per_parser; k++) {
		char *line = ring_receive(&lines[me]);
		record_t *record = zeroed(1, sizeof *record);
		for (char *at = line; *at && record->n < FIELDS;) {
			char *end = strchrnul(at, ' ');
			size_t n = (size_t)(end - at);
			char *field = take(n + 1);
			memcpy(field, at, n);
			field[n] = 0;
			record->fields[record->n++] = field;
			at = *end ? end + 1 : end;
		}
		free(line);
		ring_send(&records[me], record);
	}
	return NULL;
}

static _Atomic uint64_t written;

static void *writer(void *p)
{
	int parsers = (int)(intptr_t)p, spun = 0;
	char *batch = NULL;
	size_t n = 0, room = 0;
	for (long left = per_parser * parsers; left > 0;) {
		bool any = false;
		for (int i = 0; i < parsers; i++) {
			record_t *record = ring_get(&records[i]);
			if (!record)
				continue;
			any = true;
			left--;
			for (int f = 0; f < record->n; f++) {
				size_t size = strlen(record->fields[f]);
				if (n + size + 1 > room) {
					room = room ? room * 2 : 4096;
					batch = resize(batch, room);
				}
				memcpy(batch + n, record->fields[f], size);
				n += size;
				batch[n++] = '\t';
				free(record->fields[f]);
			}
			free(record);
			/* A full batch is sent away, and the next one grows from nothing. */
			if (n > BATCH) {
				written += n;
				free(batch);
				batch = NULL;
				n = room = 0;
			}
		}
		if (!any)
			pause_a_little(&spun);
	}
	written += n;
	free(batch);
	return NULL;
}

int main(int argc, char **argv)
{
	long n = arg_long(argc, argv, 1, 100000);
	int parsers = (int)arg_long(argc, argv, 2, 2);
	if (parsers < 1 || parsers > PARSERS)
		die("1 to 8 parsers");
	per_parser = n / parsers;
	size_t before = resident();
	rng_t r = rng_new(77);
	pthread_t t[PARSERS + 1];
	uint64_t at = now_ns();
	for (int i = 0; i < parsers; i++)
		t[i] = start_thread(parser, (void *)(intptr_t)i);
	t[parsers] = start_thread(writer, (void *)(intptr_t)parsers);
	for (long k = 0; k < per_parser * parsers; k++) {
		char text[320];
		int size = snprintf(text, sizeof text, "10.%u.%u.7 - user%u 2024-01-01T00:00:00 GET /static/%x/%.*s HTTP/1.1 200 %u",
		                    (unsigned)(k & 255), (unsigned)(k >> 8 & 255), (unsigned)rng_below(&r, 100000),
		                    (unsigned)rng_next(&r), (int)rng_log_size(&r, 8, 128),
		                    "index/of/some/rather/long/path/that/goes/on/and/on/until/the/page/is/found/or/not/and/then/some/more.html",
		                    (unsigned)rng_below(&r, 1000000));
		char *line = take((size_t)size + 1);
		memcpy(line, text, (size_t)size + 1);
		ring_send(&lines[k % parsers], line);
	}
	for (int i = 0; i <= parsers; i++)
		pthread_join(t[i], NULL);
	at = now_ns() - at;
	app_result(at, (uint64_t)(per_parser * parsers), "ns/line", before);
	return finish();
}
