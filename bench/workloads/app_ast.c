/* A compiler without arenas, such as one written with unique_ptr or Box: a function at a time is parsed into a
 * tree of nodes of many sizes with scopes and symbols, lowered to instructions with lists of uses, changed by
 * passes and dropped, while declarations, types and code stay to the end.
 *
 *   app_ast FUNCTIONS
 */
#include "app.h"

typedef struct node {
	uint16_t kind, n, room;
	struct node **kids;
	char *name;
	struct symbol *symbol;
} node_t;

typedef struct symbol {
	struct symbol *next;
	char *name;
	uint64_t type[4];
} symbol_t;

typedef struct ins {
	struct ins *next, *previous;
	uint32_t n, room;
	struct ins **uses;
	uint64_t operands[4];
} ins_t;

typedef struct {
	symbol_t *first;
} scope_t;

static rng_t r;
static ins_t *first, *last;
static size_t live_ins;

/* Extra bytes that nodes of each kind carry behind the common part: literals few, calls and loops many. */
static const uint8_t extra[8] = {0, 8, 16, 16, 32, 48, 72, 96};

static char *copy_name(void)
{
	size_t n = rng_log_size(&r, 4, 32);
	char *s = take(n + 1);
	memset(s, 'a' + (int)(n % 26), n);
	s[n] = 0;
	return s;
}

static node_t *parse(int depth, scope_t *scope)
{
	uint16_t kind = depth == 0 ? (uint16_t)rng_below(&r, 3) : (uint16_t)(3 + rng_below(&r, 5));
	node_t *node = take(sizeof *node + extra[kind]);
	memset(node, 0, sizeof *node + extra[kind]);
	node->kind = kind;
	if (kind < 3) {
		if (kind == 2)
			node->name = copy_name();
		node->symbol = scope->first;
		return node;
	}
	scope_t inner = *scope;
	/* A block has a scope of its own; its symbols are dropped when it ends. */
	if (kind == 7)
		for (int i = 0; i < 3; i++) {
			symbol_t *s = take(sizeof *s);
			memset(s, 0, sizeof *s);
			s->name = copy_name();
			s->next = inner.first;
			inner.first = s;
		}
	uint64_t kids = 1 + rng_below(&r, 4);
	for (uint64_t i = 0; i < kids; i++) {
		if (node->n == node->room) {
			node->room = node->room ? node->room * 2 : 1;
			node->kids = resize(node->kids, node->room * sizeof *node->kids);
		}
		int down = 1 + (int)rng_below(&r, 2);
		node->kids[node->n++] = parse(depth > down ? depth - down : 0, &inner);
	}
	while (inner.first != scope->first) {
		symbol_t *s = inner.first;
		inner.first = s->next;
		free(s->name);
		free(s);
	}
	return node;
}

static void add_use(ins_t *of, ins_t *by)
{
	if (of->n == of->room) {
		of->room = of->room ? of->room * 2 : 2;
		of->uses = resize(of->uses, of->room * sizeof *of->uses);
	}
	of->uses[of->n++] = by;
}

static ins_t *emit(size_t more)
{
	ins_t *i = take(sizeof *i + more);
	memset(i, 0, sizeof *i + more);
	i->previous = last;
	if (last)
		last->next = i;
	else
		first = i;
	last = i;
	live_ins++;
	return i;
}

static ins_t *lower(const node_t *node)
{
	ins_t *of[8];
	int n = 0;
	for (int i = 0; i < node->n; i++)
		of[n++] = lower(node->kids[i]);
	ins_t *i = emit(extra[node->kind] / 2);
	for (int k = 0; k < n; k++)
		add_use(of[k], i);
	return i;
}

static void drop_tree(node_t *node)
{
	for (int i = 0; i < node->n; i++)
		drop_tree(node->kids[i]);
	free(node->kids);
	free(node->name);
	free(node);
}

static void remove_ins(ins_t *i)
{
	if (i->previous)
		i->previous->next = i->next;
	else
		first = i->next;
	if (i->next)
		i->next->previous = i->previous;
	else
		last = i->previous;
	free(i->uses);
	free(i);
	live_ins--;
}

/* Removes some instructions and puts others in their place. */
static void pass(uint64_t one_in)
{
	size_t replaced = 0;
	for (ins_t *i = first, *next; i; i = next) {
		next = i->next;
		if (rng_below(&r, one_in) == 0) {
			remove_ins(i);
			replaced++;
		}
	}
	for (size_t k = 0; k < replaced / 2; k++)
		add_use(emit(16), last);
}

int main(int argc, char **argv)
{
	long functions = arg_long(argc, argv, 1, 300);
	size_t before = resident();
	r = rng_new(21);
	symbol_t *globals = NULL;
	char **code = own_memory((size_t)functions * sizeof *code);
	uint64_t nodes = 0, t = now_ns();
	for (long f = 0; f < functions; f++) {
		symbol_t *s = take(sizeof *s);
		memset(s, 0, sizeof *s);
		s->name = copy_name();
		s->next = globals;
		globals = s;
		scope_t scope = {globals};
		first = last = NULL;
		live_ins = 0;
		for (uint64_t statements = 5 + rng_below(&r, 40); statements > 0; statements--) {
			node_t *tree = parse(7, &scope);
			lower(tree);
			drop_tree(tree);
		}
		nodes += live_ins;
		for (int k = 0; k < 4; k++)
			pass((uint64_t)(3 + k));
		code[f] = take(live_ins * 5 + 1);
		memset(code[f], 0x90, live_ins * 5 + 1);
		while (first)
			remove_ins(first);
	}
	t = now_ns() - t;
	app_result(t, nodes, "ns/node", before);
	return finish();
}
