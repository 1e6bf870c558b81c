/* An ordered store in memory, as a database's index: a B+ tree with nodes of a few hundred bytes and a record
 * of its own for each key. Half of the operations insert or replace, a quarter delete, a quarter read a range.
 * Nodes that get empty enough are merged with a neighbour.
 *
 *   app_btree OPERATIONS KEYS
 */
#include "app.h"

enum { MOST = 32, FEWEST = MOST / 2 };

typedef struct node {
	uint16_t n, leaf;
	uint64_t keys[MOST];
	void *at[]; /* MOST records in a leaf, MOST + 1 nodes otherwise */
} node_t;

typedef struct {
	uint64_t key;
	uint32_t size;
	char bytes[];
} record_t;

static node_t *root;
static rng_t r;

static node_t *make(bool leaf)
{
	node_t *node = take(sizeof *node + (MOST + !leaf) * sizeof(void *));
	node->n = 0;
	node->leaf = leaf;
	return node;
}

static record_t *make_record(uint64_t key)
{
	size_t size = rng_log_size(&r, 16, 512);
	record_t *record = take(sizeof *record + size);
	record->key = key;
	record->size = (uint32_t)size;
	memset(record->bytes, 1, size);
	return record;
}

/* The first place whose key is not below. */
static int lower(const node_t *node, uint64_t key)
{
	int lo = 0, hi = node->n;
	while (lo < hi) {
		int mid = (lo + hi) / 2;
		if (node->keys[mid] < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The child that has the key: separators are the smallest key on their right. */
static int child(const node_t *node, uint64_t key)
{
	int i = lower(node, key);
	return i < node->n && node->keys[i] == key ? i + 1 : i;
}

static void open_gap(node_t *node, int i, uint64_t key, void *p)
{
	int side = !node->leaf;
	memmove(&node->keys[i + 1], &node->keys[i], (size_t)(node->n - i) * sizeof *node->keys);
	memmove(&node->at[i + side + 1], &node->at[i + side], (size_t)(node->n - i) * sizeof *node->at);
	node->keys[i] = key;
	node->at[i + side] = p;
	node->n++;
}

/* Splits the full child i of a parent that has room. */
static void split(node_t *parent, int i)
{
	node_t *left = parent->at[i], *right = make(left->leaf);
	int half = left->n / 2;
	uint64_t up = left->keys[half];
	int from = left->leaf ? half : half + 1;
	right->n = (uint16_t)(left->n - from);
	memcpy(right->keys, &left->keys[from], right->n * sizeof *right->keys);
	memcpy(right->at, &left->at[from], (size_t)(right->n + !left->leaf) * sizeof *right->at);
	left->n = (uint16_t)half;
	open_gap(parent, i, up, right);
}

static void insert(uint64_t key)
{
	if (root->n == MOST) {
		node_t *top = make(false);
		top->at[0] = root;
		root = top;
		split(top, 0);
	}
	node_t *node = root;
	while (!node->leaf) {
		int i = child(node, key);
		if (((node_t *)node->at[i])->n == MOST) {
			split(node, i);
			i = child(node, key);
		}
		node = node->at[i];
	}
	int i = lower(node, key);
	if (i < node->n && node->keys[i] == key) {
		free(node->at[i]);
		node->at[i] = make_record(key);
	} else {
		open_gap(node, i, key, make_record(key));
	}
}

/* Merges child i + 1 into child i when both fit into one. */
static void merge(node_t *parent, int i)
{
	node_t *left = parent->at[i], *right = parent->at[i + 1];
	if (left->n + right->n + !left->leaf > MOST || left->leaf != right->leaf)
		return;
	if (!left->leaf)
		left->keys[left->n++] = parent->keys[i];
	memcpy(&left->keys[left->n], right->keys, right->n * sizeof *left->keys);
	memcpy(&left->at[left->n], right->at, (size_t)(right->n + !left->leaf) * sizeof *left->at);
	left->n = (uint16_t)(left->n + right->n);
	free(right);
	memmove(&parent->keys[i], &parent->keys[i + 1], (size_t)(parent->n - i - 1) * sizeof *parent->keys);
	memmove(&parent->at[i + 1], &parent->at[i + 2], (size_t)(parent->n - i - 1) * sizeof *parent->at);
	parent->n--;
}

static void delete(node_t *node, uint64_t key)
{
	if (node->leaf) {
		int i = lower(node, key);
		if (i == node->n || node->keys[i] != key)
			return;
		free(node->at[i]);
		memmove(&node->keys[i], &node->keys[i + 1], (size_t)(node->n - i - 1) * sizeof *node->keys);
		memmove(&node->at[i], &node->at[i + 1], (size_t)(node->n - i - 1) * sizeof *node->at);
		node->n--;
		return;
	}
	int i = child(node, key);
	delete(node->at[i], key);
	if (((node_t *)node->at[i])->n < FEWEST) {
		if (i < node->n)
			merge(node, i);
		else if (i > 0)
			merge(node, i - 1);
	}
}

static uint64_t range(uint64_t key)
{
	node_t *node = root;
	while (!node->leaf)
		node = node->at[child(node, key)];
	uint64_t sum = 0;
	for (int i = lower(node, key); i < node->n; i++) {
		record_t *record = node->at[i];
		sum += record->size + (uint64_t)record->bytes[0];
	}
	return sum;
}

int main(int argc, char **argv)
{
	long operations = arg_long(argc, argv, 1, 500000);
	uint64_t keys = (uint64_t)arg_long(argc, argv, 2, 200000);
	size_t before = resident();
	r = rng_new(55);
	root = make(true);
	uint64_t sum = 0, t = now_ns();
	for (long k = 0; k < operations; k++) {
		uint64_t key = rng_below(&r, keys), what = rng_below(&r, 4);
		if (what < 2) {
			insert(key);
		} else if (what == 2) {
			delete(root, key);
			if (!root->leaf && root->n == 0) {
				node_t *only = root->at[0];
				free(root);
				root = only;
			}
		} else {
			sum += range(key);
		}
	}
	t = now_ns() - t;
	keep(&sum);
	app_result(t, (uint64_t)operations, "ns/op", before);
	return finish();
}
