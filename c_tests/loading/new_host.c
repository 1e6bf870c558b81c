/*
 * A program in C, preloaded, that opens a library in C++ (new_plugin.cpp). Before that there is nobody in the
 * process who could throw, and still a nothrow form of new returns. With "throwing" the library's handler
 * throws, too.
 */
#include "../check.h"

/* operator new(size_t, nothrow_t const &): the preload has it. */
extern void *_ZnwmRKSt9nothrow_t(size_t size, const char *nothrow) __attribute__((weak));

int main(int count, char **arguments)
{
    size_t size = opaque(SIZE_MAX / 2);
    void *plugin;
    void *(*take_or_null)(size_t);
    int (*is_told)(size_t), (*is_spared)(size_t);
    CHECK(count >= 2, "usage: new_host PLUGIN [throwing]");
    CHECK(_ZnwmRKSt9nothrow_t(size, "") == NULL, "new gave a block");
    CHECK(dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD) == NULL, "there is a C++ library");

    plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(plugin != NULL, "dlopen: %s", dlerror());
    take_or_null = (void *(*)(size_t))(uintptr_t)dlsym(plugin, "take_or_null");
    is_told = (int (*)(size_t))(uintptr_t)dlsym(plugin, "is_told");
    is_spared = (int (*)(size_t))(uintptr_t)dlsym(plugin, "is_spared");
    CHECK(take_or_null && is_told && is_spared, "dlsym: %s", dlerror());
    CHECK(take_or_null(size) == NULL, "new gave a block");
    CHECK(is_told(size), "no handler, or no exception");
    CHECK(count == 2 || is_spared(size), "new gave a block");
    return 0;
}
