// control: glibc
/*
 * Every exported function that gives a block, with every one that takes it back: sizes from 0 to
 * SIZE_MAX, alignments from 1 to 1 GiB and absurd ones. errno is ENOMEM or EINVAL when nothing is given,
 * and as it was when something is, and after each free. What glibc does not have is left out there.
 */
#include "check.h"

#include <initializer_list>
#include <new>

static const int MARK = 4321;

template <typename Function> static Function *find(const char *name)
{
    return reinterpret_cast<Function *>(dlsym(RTLD_DEFAULT, name));
}

/* Found by name, since the control does not have them. */
#define FUNCTIONS(each)                                                                         \
    each(cfree, void(void *))                                                                   \
    each(free_sized, void(void *, size_t))                                                      \
    each(free_aligned_sized, void(void *, size_t, size_t))                                      \
    each(hak_malloc, void *(size_t))                                                            \
    each(hak_calloc, void *(size_t, size_t))                                                    \
    each(hak_realloc, void *(void *, size_t))                                                   \
    each(hak_reallocarray, void *(void *, size_t, size_t))                                      \
    each(hak_malloc_at_least, void *(size_t, size_t *))                                         \
    each(hak_aligned_alloc, void *(size_t, size_t))                                             \
    each(hak_posix_memalign, int(void **, size_t, size_t))                                      \
    each(hak_free, void(void *))                                                                \
    each(hak_free_sized, void(void *, size_t))                                                  \
    each(hak_free_aligned_sized, void(void *, size_t, size_t))                                  \
    each(hak_usable_size, size_t(void *))                                                       \
    each(hak_good_size, size_t(size_t))                                                         \
    each(hak_trim, int(size_t))                                                                 \
    each(hak_stats_json, size_t(char *, size_t))                                                \
    each(hak_policy_json, size_t(char *, size_t))                                               \
    each(hak_site_list, size_t(void *, size_t))                                                 \
    each(hak_site_name, size_t(const void *, char *, size_t))
#define DEFINE(name, ...)                                                                       \
    using name##_type = __VA_ARGS__;                                                            \
    static name##_type *their_##name;
FUNCTIONS(DEFINE)

static void find_all()
{
#define FIND(name, ...)                                                                         \
    their_##name = find<name##_type>(#name);                                                    \
    CHECK(their_##name != nullptr || !on_hakmem(), "%s is not exported", #name);
    FUNCTIONS(FIND)
}

/* What new throws is what the others return, so that one table serves all. */
template <typename Allocate> static void *caught(Allocate allocate)
{
    try {
        return allocate();
    } catch (const std::bad_alloc &) {
        errno = ENOMEM;
        return nullptr;
    }
}

/* posix_memalign's result is its error, and errno is not touched by it in any case; glibc's does. */
template <typename Allocate> static void *by_result(Allocate allocate)
{
    void *block = &block;
    int before = errno, error = allocate(&block);
    CHECK(errno == before || (error != 0 && !on_hakmem()), "errno was touched: it is %d", errno);
    if (error == 0)
        return block;
    CHECK(block == &block, "the result was written although there is none");
    errno = error;
    return nullptr;
}

enum Kind { NO_ALIGNMENT, ALIGNMENT, ALIGNED_NEW, POSIX };

struct Giver {
    const char *name;
    Kind kind;
    void *(*give)(size_t alignment, size_t size);
    /* NULL or what the library must have for it. */
    const char *needs;
};

using std::align_val_t;
using std::nothrow;

static const Giver GIVERS[] = {
    {"malloc", NO_ALIGNMENT, [](size_t, size_t n) { return malloc(n); }, nullptr},
    {"calloc(1, n)", NO_ALIGNMENT, [](size_t, size_t n) { return calloc(1, n); }, nullptr},
    {"calloc(n, 1)", NO_ALIGNMENT, [](size_t, size_t n) { return calloc(n, 1); }, nullptr},
    {"realloc", NO_ALIGNMENT, [](size_t, size_t n) { return realloc(nullptr, n); }, nullptr},
    {"reallocarray(1, n)", NO_ALIGNMENT,
     [](size_t, size_t n) { return reallocarray(nullptr, 1, n); }, nullptr},
    {"reallocarray(n, 1)", NO_ALIGNMENT,
     [](size_t, size_t n) { return reallocarray(nullptr, n, 1); }, nullptr},
    {"valloc", NO_ALIGNMENT, [](size_t, size_t n) { return valloc(n); }, nullptr},
    {"pvalloc", NO_ALIGNMENT, [](size_t, size_t n) { return pvalloc(n); }, nullptr},
    {"new", NO_ALIGNMENT,
     [](size_t, size_t n) { return caught([=] { return ::operator new(n); }); }, nullptr},
    {"new[]", NO_ALIGNMENT,
     [](size_t, size_t n) { return caught([=] { return ::operator new[](n); }); }, nullptr},
    {"nothrow new", NO_ALIGNMENT, [](size_t, size_t n) { return ::operator new(n, nothrow); },
     nullptr},
    {"nothrow new[]", NO_ALIGNMENT, [](size_t, size_t n) { return ::operator new[](n, nothrow); },
     nullptr},
    {"hak_malloc", NO_ALIGNMENT, [](size_t, size_t n) { return their_hak_malloc(n); }, "hak_malloc"},
    {"hak_calloc(1, n)", NO_ALIGNMENT, [](size_t, size_t n) { return their_hak_calloc(1, n); },
     "hak_calloc"},
    {"hak_calloc(n, 1)", NO_ALIGNMENT, [](size_t, size_t n) { return their_hak_calloc(n, 1); },
     "hak_calloc"},
    {"hak_realloc", NO_ALIGNMENT, [](size_t, size_t n) { return their_hak_realloc(nullptr, n); },
     "hak_realloc"},
    {"hak_reallocarray", NO_ALIGNMENT,
     [](size_t, size_t n) { return their_hak_reallocarray(nullptr, 1, n); }, "hak_reallocarray"},
    {"hak_malloc_at_least", NO_ALIGNMENT,
     [](size_t, size_t n) {
         size_t actual = 7;
         void *block = their_hak_malloc_at_least(n, &actual);
         CHECK(block == nullptr ? actual == 7 : actual >= n, "it says %zu", actual);
         return block;
     },
     "hak_malloc_at_least"},
    {"memalign", ALIGNMENT, [](size_t a, size_t n) { return memalign(a, n); }, nullptr},
    {"aligned_alloc", ALIGNMENT, [](size_t a, size_t n) { return aligned_alloc(a, n); }, nullptr},
    {"hak_aligned_alloc", ALIGNMENT, [](size_t a, size_t n) { return their_hak_aligned_alloc(a, n); },
     "hak_aligned_alloc"},
    {"posix_memalign", POSIX,
     [](size_t a, size_t n) {
         return by_result([=](void **block) { return posix_memalign(block, a, n); });
     },
     nullptr},
    {"hak_posix_memalign", POSIX,
     [](size_t a, size_t n) {
         return by_result([=](void **block) { return their_hak_posix_memalign(block, a, n); });
     },
     "hak_posix_memalign"},
    {"aligned new", ALIGNED_NEW,
     [](size_t a, size_t n) { return caught([=] { return ::operator new(n, align_val_t(a)); }); },
     nullptr},
    {"aligned new[]", ALIGNED_NEW,
     [](size_t a, size_t n) { return caught([=] { return ::operator new[](n, align_val_t(a)); }); },
     nullptr},
    {"aligned nothrow new", ALIGNED_NEW,
     [](size_t a, size_t n) { return ::operator new(n, align_val_t(a), nothrow); }, nullptr},
    {"aligned nothrow new[]", ALIGNED_NEW,
     [](size_t a, size_t n) { return ::operator new[](n, align_val_t(a), nothrow); }, nullptr},
};

struct Taker {
    const char *name;
    Kind kind;
    void (*take)(void *block, size_t alignment, size_t size);
    const char *needs;
};

/* What goes with each kind; ALIGNMENT stands for both functions of C that align, and free. */
static const Taker TAKERS[] = {
    {"free", NO_ALIGNMENT, [](void *b, size_t, size_t) { free(b); }, nullptr},
    {"realloc to 0", NO_ALIGNMENT,
     [](void *b, size_t, size_t) { CHECK(realloc(b, opaque(0)) == nullptr, "realloc to 0"); },
     nullptr},
    {"cfree", NO_ALIGNMENT, [](void *b, size_t, size_t) { their_cfree(b); }, "cfree"},
    {"free_sized", NO_ALIGNMENT, [](void *b, size_t, size_t n) { their_free_sized(b, n); },
     "free_sized"},
    {"hak_free", NO_ALIGNMENT, [](void *b, size_t, size_t) { their_hak_free(b); }, "hak_free"},
    {"hak_free_sized", NO_ALIGNMENT, [](void *b, size_t, size_t n) { their_hak_free_sized(b, n); },
     "hak_free_sized"},
    {"delete", NO_ALIGNMENT, [](void *b, size_t, size_t) { ::operator delete(b); }, nullptr},
    {"delete[]", NO_ALIGNMENT, [](void *b, size_t, size_t) { ::operator delete[](b); }, nullptr},
    {"sized delete", NO_ALIGNMENT, [](void *b, size_t, size_t n) { ::operator delete(b, n); },
     nullptr},
    {"sized delete[]", NO_ALIGNMENT, [](void *b, size_t, size_t n) { ::operator delete[](b, n); },
     nullptr},
    {"nothrow delete", NO_ALIGNMENT,
     [](void *b, size_t, size_t) { ::operator delete(b, nothrow); }, nullptr},
    {"nothrow delete[]", NO_ALIGNMENT,
     [](void *b, size_t, size_t) { ::operator delete[](b, nothrow); }, nullptr},
    {"free", ALIGNMENT, [](void *b, size_t, size_t) { free(b); }, nullptr},
    {"free_aligned_sized", ALIGNMENT,
     [](void *b, size_t a, size_t n) { their_free_aligned_sized(b, a, n); }, "free_aligned_sized"},
    {"hak_free_aligned_sized", ALIGNMENT,
     [](void *b, size_t a, size_t n) { their_hak_free_aligned_sized(b, a, n); },
     "hak_free_aligned_sized"},
    {"aligned delete", ALIGNED_NEW,
     [](void *b, size_t a, size_t) { ::operator delete(b, align_val_t(a)); }, nullptr},
    {"aligned delete[]", ALIGNED_NEW,
     [](void *b, size_t a, size_t) { ::operator delete[](b, align_val_t(a)); }, nullptr},
    {"sized aligned delete", ALIGNED_NEW,
     [](void *b, size_t a, size_t n) { ::operator delete(b, n, align_val_t(a)); }, nullptr},
    {"sized aligned delete[]", ALIGNED_NEW,
     [](void *b, size_t a, size_t n) { ::operator delete[](b, n, align_val_t(a)); }, nullptr},
    {"nothrow aligned delete", ALIGNED_NEW,
     [](void *b, size_t a, size_t) { ::operator delete(b, align_val_t(a), nothrow); }, nullptr},
    {"nothrow aligned delete[]", ALIGNED_NEW,
     [](void *b, size_t a, size_t) { ::operator delete[](b, align_val_t(a), nothrow); }, nullptr},
    {"free", POSIX, [](void *b, size_t, size_t) { free(b); }, nullptr},
};

static bool there(const char *needs)
{
    return needs == nullptr || on_hakmem();
}

static void give_and_take(const Giver &giver, size_t alignment, size_t size)
{
    for (const Taker &taker : TAKERS) {
        if (taker.kind != giver.kind || !there(taker.needs))
            continue;
        errno = MARK;
        void *block = launder(giver.give(opaque(alignment), opaque(size)));
        CHECK(block != nullptr, "%s of %zu at %zu", giver.name, size, alignment);
        CHECK(errno == MARK, "%s of %zu at %zu set errno", giver.name, size, alignment);
        CHECK(is_aligned(block, alignment), "%s of %zu at %zu gave %p", giver.name, size, alignment,
              block);
        CHECK(malloc_usable_size(block) >= size, "%s of %zu at %zu has room for %zu", giver.name,
              size, alignment, malloc_usable_size(block));
        CHECK(their_hak_usable_size == nullptr
                  || their_hak_usable_size(block) == malloc_usable_size(block),
              "the two names say different sizes");
        if (size > 0) {
            auto bytes = static_cast<volatile unsigned char *>(block);
            bytes[0] = 1;
            bytes[size - 1] = 2;
            CHECK(bytes[size - 1] == 2 && bytes[0] == (size == 1 ? 2 : 1), "it is not memory");
        }
        taker.take(block, alignment, size);
        CHECK(errno == MARK, "%s of %zu bytes from %s set errno", taker.name, size, giver.name);
    }
}

static void what_can_be_given()
{
    static const size_t SIZES[] = {
        0, 1, 8, 15, 16, 17, 24, 100, 1000, 1023, 1024, 1025, 4095, 4096, 4097, 32767, 32768, 32769,
        65535, 65536, 65537, 1000000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 1, 5 << 20,
        20 << 20,
    };
    for (const Giver &giver : GIVERS) {
        if (!there(giver.needs))
            continue;
        for (size_t size : SIZES) {
            if (giver.kind == NO_ALIGNMENT) {
                give_and_take(giver, 1, size);
                continue;
            }
            for (size_t alignment = giver.kind == POSIX ? sizeof(void *) : 1; alignment <= GIB;
                 alignment *= 2)
                if (size < 100000 || alignment == 4096 || alignment >= 512 * KIB)
                    give_and_take(giver, alignment, size);
        }
        if (giver.kind == NO_ALIGNMENT)
            continue;
        for (size_t alignment = sizeof(void *); alignment <= GIB; alignment *= 2)
            for (size_t size : {alignment - 1, alignment, alignment + 1})
                give_and_take(giver, alignment, size);
    }
}

static void must_fail(const Giver &giver, size_t alignment, size_t size, int error)
{
    errno = MARK;
    void *block = launder(giver.give(opaque(alignment), opaque(size)));
    CHECK(block == nullptr, "%s of %zu at %zu gave %p", giver.name, size, alignment, block);
    CHECK(errno == error, "%s of %zu at %zu", giver.name, size, alignment);
}

static void what_is_too_large()
{
    static const size_t LARGE = PTRDIFF_MAX;
    static const size_t SIZES[] = {
        LARGE - 65537, LARGE - 65536, LARGE - 4097, LARGE - 4096, LARGE - 4095, LARGE - 17,
        LARGE - 16, LARGE - 15, LARGE - 1, LARGE, LARGE + 1, LARGE + 2, LARGE + 16, LARGE + 4096,
        LARGE + 65536, SIZE_MAX - (1 << 21), SIZE_MAX - 65537, SIZE_MAX - 65536, SIZE_MAX - 65535,
        SIZE_MAX - 4097, SIZE_MAX - 4096, SIZE_MAX - 4095, SIZE_MAX - 4094, SIZE_MAX - 17,
        SIZE_MAX - 16, SIZE_MAX - 15, SIZE_MAX - 8, SIZE_MAX - 1, SIZE_MAX, size_t(1) << 62,
        size_t(1) << 48, size_t(1) << 47,
    };
    for (const Giver &giver : GIVERS) {
        if (!there(giver.needs))
            continue;
        for (size_t size : SIZES) {
            if (giver.kind == NO_ALIGNMENT) {
                must_fail(giver, 1, size, ENOMEM);
                continue;
            }
            for (size_t alignment = sizeof(void *); alignment <= GIB; alignment *= 2)
                /* libstdc++ 12 rounds these up to a multiple of the alignment, and so to 0. */
                if (giver.kind != ALIGNED_NEW || on_hakmem() || size <= SIZE_MAX - alignment)
                    must_fail(giver, alignment, size, ENOMEM);
        }
    }
}

static void products_that_overflow()
{
    static const struct {
        size_t count, size;
    } PRODUCTS[] = {
        {SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX, SIZE_MAX}, {size_t(1) << 32, size_t(1) << 32},
        /* These wrap to 0, 16 and 24, and the last two are above PTRDIFF_MAX without wrapping. */
        {size_t(1) << 63, 2}, {(size_t(1) << 60) + 1, 16}, {(size_t(1) << 61) + 3, 8},
        {SIZE_MAX / 16 + 1, 8}, {3, SIZE_MAX / 4},
    };
    using Pair = void *(size_t, size_t);
    static const struct {
        const char *name;
        Pair *give;
        bool ours;
    } PAIRS[] = {
        {"calloc", [](size_t m, size_t n) { return calloc(m, n); }, false},
        {"reallocarray", [](size_t m, size_t n) { return reallocarray(nullptr, m, n); }, false},
        {"hak_calloc", [](size_t m, size_t n) { return their_hak_calloc(m, n); }, true},
        {"hak_reallocarray",
         [](size_t m, size_t n) { return their_hak_reallocarray(nullptr, m, n); }, true},
    };
    auto kept = static_cast<unsigned char *>(malloc(100));
    CHECK(kept != nullptr, "malloc");
    pattern_fill(kept, 100, 1);
    for (const auto &pair : PAIRS) {
        if (pair.ours && !on_hakmem())
            continue;
        for (const auto &product : PRODUCTS) {
            size_t count = opaque(product.count), size = opaque(product.size);
            errno = MARK;
            CHECK(pair.give(count, size) == nullptr && errno == ENOMEM, "%s(%zu, %zu)", pair.name,
                  count, size);
            errno = MARK;
            CHECK(reallocarray(kept, count, size) == nullptr && errno == ENOMEM,
                  "reallocarray(%zu, %zu)", count, size);
            if (on_hakmem()) {
                errno = MARK;
                CHECK(their_hak_reallocarray(kept, count, size) == nullptr && errno == ENOMEM,
                      "hak_reallocarray(%zu, %zu)", count, size);
                errno = MARK;
                CHECK(their_hak_realloc(kept, opaque(SIZE_MAX / 2 + 1)) == nullptr
                          && errno == ENOMEM,
                      "hak_realloc");
            }
        }
        CHECK(pattern_holds(kept, 100, 1), "%s changed a block", pair.name);
    }
    free(kept);
}

static void absurd_alignments()
{
    for (const Giver &giver : GIVERS) {
        if (giver.kind == NO_ALIGNMENT || !there(giver.needs))
            continue;
        for (size_t size : {size_t(0), size_t(8), size_t(5000), size_t(100000), size_t(3) << 20}) {
            for (size_t bits = 47; bits < 64; bits++)
                must_fail(giver, size_t(1) << bits, size, ENOMEM);
            for (size_t alignment : {size_t(0), size_t(3), size_t(24), size_t(48), size_t(4097),
                                     size_t(65537), size_t(100000), (size_t(3) << 20),
                                     SIZE_MAX / 2 + 2, SIZE_MAX - 1, SIZE_MAX}) {
                if (giver.kind == POSIX) {
                    must_fail(giver, alignment, size, EINVAL);
                    continue;
                }
                if (giver.kind == ALIGNED_NEW) {
                    /* libstdc++ looks only in newer versions: there it is left to the caller. */
                    CHECK(!on_hakmem() || alignment <= 16
                              || launder(giver.give(opaque(alignment), size)) == nullptr,
                          "%s of %zu at %zu gave a block", giver.name, size, alignment);
                    continue;
                }
                /* Rounded up to a power of two, or refused, as glibc has it in one version or another. */
                errno = MARK;
                void *block = launder(giver.give(opaque(alignment), size));
                if (block == nullptr)
                    CHECK(errno == EINVAL, "%s at %zu", giver.name, alignment);
                else
                    CHECK(errno == MARK && alignment <= SIZE_MAX / 2 + 1, "%s at %zu gave %p",
                          giver.name, alignment, block);
                while (block != nullptr && (alignment & (alignment - 1)) != 0)
                    alignment += alignment & ~(alignment - 1);
                CHECK(block == nullptr || alignment == 0 || is_aligned(block, alignment),
                      "%s at %zu gave %p", giver.name, alignment, block);
                free(block);
            }
        }
    }
}

/* Those that neither give nor take a block. */
static void the_others_keep_errno()
{
    void *block = malloc(100000);
    free(launder(malloc(3 * MIB)));
    errno = MARK;
    malloc_trim(0);
    malloc_trim(SIZE_MAX);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    (void)mallinfo2();
    (void)malloc_usable_size(block);
    (void)malloc_usable_size(nullptr);
    CHECK(errno == MARK, "errno was set");
    if (on_hakmem()) {
        static char text[1 << 16];
        errno = MARK;
        their_hak_trim(0);
        their_hak_trim(SIZE_MAX);
        CHECK(their_hak_stats_json(text, sizeof text) > 0, "statistics");
        CHECK(their_hak_policy_json(text, sizeof text) > 0, "the policy");
        CHECK(their_hak_site_list(nullptr, 0) > 0, "no site");
        CHECK(their_hak_site_name((const void *)1, text, sizeof text) == 3, "%s", text);
        for (size_t size : {size_t(0), size_t(PTRDIFF_MAX), size_t(PTRDIFF_MAX) + 1, SIZE_MAX})
            CHECK(their_hak_good_size(size) >= size, "hak_good_size(%zu)", size);
        CHECK(errno == MARK, "errno was set");
    }
    free(block);
}

int main()
{
    find_all();
    what_can_be_given();
    what_is_too_large();
    products_that_overflow();
    absurd_alignments();
    the_others_keep_errno();
    return 0;
}
