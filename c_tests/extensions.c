/*
 * Functions of the malloc family that glibc 2.36 has no more or not yet, and that all names of the
 * family come from one library: a block of one allocator freed by another is memory corrupted.
 */
#include "check.h"

static void *find(const char *name)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);
    CHECK(symbol != NULL, "%s is not exported", name);
    return symbol;
}

int main(void)
{
    static const char *const NAMES[] = {
        "malloc", "free", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc",
        "memalign", "valloc", "pvalloc", "malloc_usable_size", "cfree", "free_sized",
        "free_aligned_sized", "malloc_trim", "mallopt", "mallinfo", "mallinfo2", "malloc_stats",
        "malloc_info",
        /* new and new[]: throwing, nothrow, aligned, both. */
        "_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t", "_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_t",
        "_ZnamSt11align_val_t", "_ZnwmSt11align_val_tRKSt9nothrow_t",
        "_ZnamSt11align_val_tRKSt9nothrow_t",
        /* delete and delete[]: plain, nothrow, sized, aligned, and their combinations. */
        "_ZdlPv", "_ZdaPv", "_ZdlPvRKSt9nothrow_t", "_ZdaPvRKSt9nothrow_t", "_ZdlPvm", "_ZdaPvm",
        "_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t",
        "_ZdaPvSt11align_val_tRKSt9nothrow_t", "_ZdlPvmSt11align_val_t", "_ZdaPvmSt11align_val_t",
        "hak_malloc", "hak_free", "hak_version",
    };
    static const size_t SIZES[] = {0, 1, 100, 1024, 5000, 40000, 300000, 5 << 20};
    void (*cfree)(void *), (*free_sized)(void *, size_t);
    void (*free_aligned_sized)(void *, size_t, size_t);
    const char *library = served_from("malloc");
    size_t i, resident = 0, round;

    for (i = 0; i < COUNT(NAMES); i++) {
        find(NAMES[i]);
        CHECK(same_file(served_from(NAMES[i]), library), "%s comes from %s, malloc from %s",
              NAMES[i], served_from(NAMES[i]), library);
    }

    cfree = (void (*)(void *))(uintptr_t)find("cfree");
    free_sized = (void (*)(void *, size_t))(uintptr_t)find("free_sized");
    free_aligned_sized = (void (*)(void *, size_t, size_t))(uintptr_t)find("free_aligned_sized");
    errno = 3;
    cfree(NULL);
    free_sized(NULL, 0);
    free_sized(NULL, 100);
    free_aligned_sized(NULL, 16, 32);
    for (round = 0; round < 300; round++) {
        for (i = 0; i < COUNT(SIZES); i++) {
            char *one = (char *)malloc(SIZES[i]), *two = (char *)calloc(1, SIZES[i]);
            char *three = (char *)aligned_alloc(4096, SIZES[i]);
            CHECK(one != NULL && two != NULL && three != NULL, "%zu bytes", SIZES[i]);
            memset(one, 1, SIZES[i]);
            memset(three, 1, SIZES[i]);
            cfree(one);
            free_sized(two, SIZES[i]);
            free_aligned_sized(three, 4096, SIZES[i]);
        }
        if (round == 20)
            resident = resident_kib();
    }
    CHECK(errno == 3, "one of them changed errno");
    CHECK(resident_kib() < resident + 8 * KIB, "they free nothing: %zu to %zu KiB", resident,
          resident_kib());
    return 0;
}
