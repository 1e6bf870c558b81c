/*
 * A library that brings hakmem along: linked with libhakmem.so, or with libhakmem.a inside. PLUGIN is
 * its name; both kinds are built twice, so that there are two of a kind in one program.
 */
#include <hakmem.h>
#include <stdlib.h>

#define PASTE(plugin, name) plugin##_##name
#define NAME(plugin, name) PASTE(plugin, name)

/* From hakmem, whoever serves malloc here. */
void *NAME(PLUGIN, make)(size_t size)
{
    return hak_malloc(size);
}

void NAME(PLUGIN, drop)(void *block)
{
    hak_free(block);
}

/* From the malloc that this library sees. */
void *NAME(PLUGIN, make_plain)(size_t size)
{
    return malloc(size);
}

void NAME(PLUGIN, drop_plain)(void *block)
{
    free(block);
}
