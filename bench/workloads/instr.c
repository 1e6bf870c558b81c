/* Loops whose instructions callgrind counts. The driver runs each with two numbers of turns, so that start-up
 * falls out of the difference, and takes `empty` (the same loop around two functions that do nothing) off.
 *
 *   instr KIND SIZE TURNS
 */
#include "bench.h"

extern void *nothing_take(size_t size);
extern void nothing_give(void *p);

int main(int argc, char **argv)
{
	const char *kind = arg(argc, argv, 1, "pair");
	size_t size = (size_t)arg_long(argc, argv, 2, 16);
	long turns = arg_long(argc, argv, 3, 1000);
	if (!strcmp(kind, "pair")) {
		for (long i = 0; i < turns; i++) {
			void *p = malloc(size);
			keep(p);
			free(p);
		}
	} else if (!strcmp(kind, "empty")) {
		for (long i = 0; i < turns; i++) {
			void *p = nothing_take(size);
			keep(p);
			nothing_give(p);
		}
	} else
		die("no such kind");
	return finish();
}
