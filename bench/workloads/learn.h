/* What the workloads of learn.c share: a pace, data that is written and read back, and what the allocator says
 * of its own decisions meanwhile. */
#ifndef HAKMEM_BENCH_LEARN_H
#define HAKMEM_BENCH_LEARN_H

#include "app.h"

enum { KIB = 1 << 10, MIB = 1 << 20 };
static const uint64_t MS = 1000000;

static inline void *checked(void *p)
{
	if (!p)
		die("out of memory");
	return p;
}

/* The call of malloc stands where this does: the call site is the program's own, never a helper's. */
#define TAKE(size) checked(malloc(size))

/* Data that depends on the seed, whatever bytes are left behind the last whole word included. */
static inline void fill(void *p, size_t size, uint64_t seed)
{
	uint64_t *words = p;
	for (size_t i = 0; i < size / 8; i++)
		words[i] = seed + i;
	memset((char *)p + size / 8 * 8, (int)(seed & 127), size % 8);
}

/* What fill wrote, as a number. */
static inline uint64_t sum(const void *p, size_t size)
{
	const uint64_t *words = p;
	uint64_t s = 0;
	for (size_t i = 0; i < size / 8; i++)
		s += words[i];
	for (size_t i = size / 8 * 8; i < size; i++)
		s += ((const unsigned char *)p)[i];
	return s;
}

/* A moment of the allocator's decisions. */
typedef struct {
	double at, windows, keep, cost, rent;
} moment_t;

/* One every 10 ms, and the longest run is killed after 2,400 s. */
enum { MOMENTS = 1 << 18 };
static moment_t *moments;
static size_t moments_seen;
static uint64_t began, look_next;
static size_t (*policy)(char *, size_t);

/* The number behind the first place of a name in the JSON; the whole comes before its parts there. */
static double number(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	return at ? strtod(at + strlen(name), NULL) : 0;
}

/* Notes a moment of the decisions. Kept in memory until the end, so that looking writes nothing. */
static void note(uint64_t now, bool always)
{
	/* The decision may change within a window, too. */
	const double apart = 0.05;
	static char text[8192];
	/* A text that is cut off at the end still begins with what is read here. */
	if (moments_seen == MOMENTS || policy(text, sizeof text) == 0)
		return;
	moment_t m = {(double)(now - began) / 1e9, number(text, "\"windows\":"), number(text, "\"strategy\":\"keep-"),
	              number(text, "\"cost\":"), number(text, "\"rent\":")};
	const moment_t *last = moments_seen > 0 ? &moments[moments_seen - 1] : NULL;
	if (always || !last || last->windows != m.windows || m.at - last->at > apart)
		moments[moments_seen++] = m;
}

/* Looks at the decisions, at most every 10 ms. The main thread only. */
static void look(void)
{
	uint64_t now = now_ns();
	if (!policy || now < look_next)
		return;
	look_next = now + 10 * MS;
	note(now, false);
}

static void look_begin(void)
{
	void *f = dlsym(RTLD_DEFAULT, "hak_policy_json");
	memcpy(&policy, &f, sizeof f);
	/* Resident as far as it is written, in small pages: it counts as the process's memory. */
	size_t bytes = MOMENTS * sizeof *moments;
	moments = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (moments == MAP_FAILED)
		die("out of memory for the harness's own array");
	madvise(moments, bytes, MADV_NOHUGEPAGE);
	began = now_ns();
}

static void look_end(void)
{
	if (policy)
		note(now_ns(), true);
	for (size_t i = 0; i < moments_seen; i++) {
		const moment_t *m = &moments[i];
		point("window", m->at, m->windows, "windows");
		point("decision", m->at, m->keep, "KiB kept");
		point("cost", m->at, m->cost / 1e3, "us/ms");
		point("rent", m->at, m->rent / 1e3, "us/ms");
	}
}

/* Sleeps until a moment; one that has passed is not waited for, so work is never left out. */
static void sleep_until(uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
	}
}

/* The same in the main thread, between two beats of a workload. */
static void beat_until(uint64_t ns)
{
	look();
	sleep_until(ns);
}

#endif
