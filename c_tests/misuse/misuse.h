/*
 * Helpers for programs that make one mistake each. The lines at the head of a program say what must come
 * of it, "guard:" with HAKMEM_GUARD=1 and "default:" without any setting:
 *   abort CALL: WHY   SIGABRT, and the one line "hakmem: CALL(BLOCK): WHY"; BLOCK is what the program
 *                     has announced last
 *   SIGSEGV           the access itself ends the process
 *   exit 0            the program has seen for itself that nothing came of it
 * Without a line for a mode, nothing is promised there. Compiled without optimization.
 */
#ifndef HAKMEM_MISUSE_H
#define HAKMEM_MISUSE_H

#include "../check.h"

#include <sys/mman.h>

/* Says which block the mistake is about to be made with. */
static inline void *announce(const void *block)
{
    char text[64];
    int length = snprintf(text, sizeof text, "0x%016zx\n", (size_t)block);
    CHECK(write(STDOUT_FILENO, text, (size_t)length) == length, "write");
    return launder((void *)block);
}

static inline unsigned char *take(size_t size)
{
    unsigned char *block = (unsigned char *)launder(malloc(size));
    CHECK(block != NULL, "malloc of %zu", size);
    return block;
}

static inline int ends_with_page(const unsigned char *block, size_t size)
{
    return ((size_t)block + (size + 15) / 16 * 16) % 4096 == 0;
}

/* A small block without a page behind it that cannot be touched: one small block in 64 has one. */
static inline unsigned char *take_unfenced(size_t size)
{
    unsigned char *block;
    do
        block = take(size);
    while (ends_with_page(block, size));
    return block;
}

/* A small block with such a page behind it, while there are any. */
static inline unsigned char *take_fenced(size_t size)
{
    unsigned char *block;
    int tries = 0;
    do
        block = take(size);
    while (!ends_with_page(block, size) && ++tries < 1000);
    return block;
}

/* Takes and frees so much that whatever was freed before is no longer held back. */
static inline void turn_over(size_t size)
{
    int i;
    for (i = 0; i < 100000; i++)
        free(take(size));
}

static inline int is_zero(const unsigned char *block, size_t size)
{
    return all_zero(block, size);
}

#endif
