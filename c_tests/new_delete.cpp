// control: glibc
/* operator new and delete in all forms, and what the throwing ones do when memory ends. */
#include "check.h"

#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <vector>

static const size_t SIZES[] = {0, 1, 8, 24, 100, 1000, 1024, 1025, 5000, 40000, 300000, 5 << 20};

/* More than any address space holds, but a size that the language allows. */
static const size_t IMPOSSIBLE[] = {size_t(PTRDIFF_MAX), size_t(PTRDIFF_MAX) - 100,
                                    size_t(PTRDIFF_MAX) + 1, SIZE_MAX - 4096, SIZE_MAX - 1,
                                    SIZE_MAX};

static void *check_block(void *block, size_t size, size_t alignment)
{
    block = launder(block);
    CHECK(block != nullptr, "%zu bytes", size);
    CHECK(is_aligned(block, alignment), "%zu bytes at %p", size, block);
    CHECK(malloc_usable_size(block) >= size, "%zu bytes", size);
    pattern_fill(block, size, size);
    CHECK(pattern_holds(block, size, size), "%zu bytes", size);
    return block;
}

static void plain_forms()
{
    for (size_t size : SIZES) {
        ::operator delete(check_block(::operator new(size), size, 16));
        ::operator delete(check_block(::operator new(size), size, 16), size);
        ::operator delete(check_block(::operator new(size), size, 16), std::nothrow);
        ::operator delete[](check_block(::operator new[](size), size, 16));
        ::operator delete[](check_block(::operator new[](size), size, 16), size);
        ::operator delete[](check_block(::operator new[](size), size, 16), std::nothrow);
        ::operator delete(check_block(::operator new(size, std::nothrow), size, 16));
        ::operator delete[](check_block(::operator new[](size, std::nothrow), size, 16));
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete(nullptr, size_t(8));
    ::operator delete[](nullptr, size_t(8));
    ::operator delete(nullptr, std::nothrow);
    ::operator delete[](nullptr, std::nothrow);
}

static void aligned_forms()
{
    for (size_t power = 1; power <= 8 * MIB; power *= 2)
        for (size_t size : SIZES) {
            auto alignment = std::align_val_t(power);
            ::operator delete(check_block(::operator new(size, alignment), size, power), alignment);
            ::operator delete(check_block(::operator new(size, alignment), size, power), size,
                              alignment);
            ::operator delete(check_block(::operator new(size, alignment), size, power), alignment,
                              std::nothrow);
            ::operator delete[](check_block(::operator new[](size, alignment), size, power),
                                alignment);
            ::operator delete[](check_block(::operator new[](size, alignment), size, power), size,
                                alignment);
            ::operator delete[](check_block(::operator new[](size, alignment), size, power),
                                alignment, std::nothrow);
            ::operator delete(
                check_block(::operator new(size, alignment, std::nothrow), size, power), alignment);
            ::operator delete[](
                check_block(::operator new[](size, alignment, std::nothrow), size, power),
                alignment);
        }
    ::operator delete(nullptr, std::align_val_t(64));
    ::operator delete[](nullptr, std::align_val_t(64));
    ::operator delete(nullptr, size_t(8), std::align_val_t(64));
    ::operator delete[](nullptr, size_t(8), std::align_val_t(64));
}

/* Destructors of the frames between throw and catch must run. */
struct Witness {
    explicit Witness(int &count) : count(count) {}
    ~Witness() { count++; }
    int &count;
};

template <typename Allocate> static void must_throw(const char *what, Allocate allocate)
{
    int unwound = 0;
    bool caught = false;
    try {
        Witness outer(unwound);
        auto inner = [&] {
            Witness witness(unwound);
            std::string on_the_heap(1000, 'x');
            void *block = launder(allocate());
            CHECK(block == nullptr, "%s succeeded", what);
        };
        inner();
    } catch (const std::bad_alloc &error) {
        caught = true;
        CHECK(strcmp(error.what(), "std::bad_alloc") == 0, "%s threw %s", what, error.what());
    }
    CHECK(caught, "%s did not throw", what);
    CHECK(unwound == 2, "%s: %d frames were unwound", what, unwound);
}

template <typename Allocate> static void must_be_null(const char *what, Allocate allocate)
{
    void *block = launder(allocate());
    CHECK(block == nullptr, "%s gave %p", what, block);
}

/* Calls each form of new with each impossible size. */
static void all_fail()
{
    auto alignment = std::align_val_t(256);
    for (size_t impossible : IMPOSSIBLE) {
        size_t size = opaque(impossible);
        must_throw("new", [=] { return ::operator new(size); });
        must_throw("new[]", [=] { return ::operator new[](size); });
        must_be_null("nothrow new", [=] { return ::operator new(size, std::nothrow); });
        must_be_null("nothrow new[]", [=] { return ::operator new[](size, std::nothrow); });
        /* libstdc++ 12 rounds these up to the alignment, and so to 0. */
        if (size > SIZE_MAX - 256 && !on_hakmem())
            continue;
        must_throw("aligned new", [=] { return ::operator new(size, alignment); });
        must_throw("aligned new[]", [=] { return ::operator new[](size, alignment); });
        must_be_null("aligned nothrow new",
                     [=] { return ::operator new(size, alignment, std::nothrow); });
        must_be_null("aligned nothrow new[]",
                     [=] { return ::operator new[](size, alignment, std::nothrow); });
    }
}

static int handled;

static void give_up_at_third()
{
    if (++handled == 3)
        std::set_new_handler(nullptr);
}

struct Custom : std::bad_alloc {
};

static void throw_custom()
{
    handled++;
    throw Custom();
}

static void throw_something_else()
{
    throw std::runtime_error("not a bad_alloc");
}

/* The handler is called until it gives up, and what it throws comes out. */
static void new_handlers()
{
    auto alignment = std::align_val_t(64);
    size_t size = opaque(SIZE_MAX / 2);
    auto each = [=](auto check) {
        check([=] { return ::operator new(size); });
        check([=] { return ::operator new[](size); });
        check([=] { return ::operator new(size, alignment); });
        check([=] { return ::operator new[](size, alignment); });
        check([=] { return ::operator new(size, std::nothrow); });
        check([=] { return ::operator new[](size, std::nothrow); });
        check([=] { return ::operator new(size, alignment, std::nothrow); });
        check([=] { return ::operator new[](size, alignment, std::nothrow); });
    };
    each([](auto allocate) {
        handled = 0;
        std::set_new_handler(give_up_at_third);
        try {
            CHECK(launder(allocate()) == nullptr, "it gave a block");
        } catch (const std::bad_alloc &) {
        }
        CHECK(handled == 3, "the handler was called %d times", handled);
        CHECK(std::get_new_handler() == nullptr, "the handler is still there");
    });
    int customs = 0;
    each([&](auto allocate) {
        handled = 0;
        std::set_new_handler(throw_custom);
        try {
            CHECK(launder(allocate()) == nullptr, "it gave a block");
        } catch (const Custom &) {
            customs++;
        }
        CHECK(handled == 1, "the handler was called %d times", handled);
    });
    /* The nothrow forms swallow it. */
    CHECK(customs == 4, "%d of 4 exceptions came out", customs);

    std::set_new_handler(throw_something_else);
    bool caught = false;
    try {
        CHECK(launder(::operator new(size)) == nullptr, "it gave a block");
    } catch (const std::runtime_error &) {
        caught = true;
    }
    CHECK(caught, "what the handler threw did not come out");
    std::set_new_handler(nullptr);
}

/* No handler can help with an alignment that is no power of two, and none is asked. */
static void impossible_alignment()
{
    handled = 0;
    std::set_new_handler(give_up_at_third);
    for (size_t wrong : {24, 100, 4097}) {
        auto alignment = std::align_val_t(opaque(wrong));
        must_throw("new aligned to no power of two", [=] { return ::operator new(64, alignment); });
        must_be_null("nothrow new aligned to no power of two",
                     [=] { return ::operator new(64, alignment, std::nothrow); });
    }
    CHECK(handled == 0, "the handler was called %d times", handled);
    std::set_new_handler(nullptr);
}

/* A handler that makes room lets the very same new succeed. */
static void lift_limit()
{
    struct rlimit limits;
    handled++;
    CHECK(getrlimit(RLIMIT_AS, &limits) == 0, "getrlimit");
    limits.rlim_cur = limits.rlim_max;
    CHECK(setrlimit(RLIMIT_AS, &limits) == 0, "setrlimit");
}

static void handler_makes_room()
{
    struct rlimit limits;
    CHECK(getrlimit(RLIMIT_AS, &limits) == 0, "getrlimit");
    limits.rlim_cur = mapped_kib() * KIB + 32 * MIB;
    CHECK(setrlimit(RLIMIT_AS, &limits) == 0, "setrlimit");
    handled = 0;
    std::set_new_handler(lift_limit);
    ::operator delete(check_block(::operator new(300 * MIB), 300 * MIB, 16));
    CHECK(handled == 1, "the handler was called %d times", handled);
    std::set_new_handler(nullptr);
}

static void arrays_too_large()
{
    size_t count = opaque(SIZE_MAX / 4);
    bool caught = false;
    try {
        launder(new long[count]);
    } catch (const std::bad_array_new_length &) {
        caught = true;
    }
    CHECK(caught, "new long[SIZE_MAX / 4] did not throw bad_array_new_length");
    caught = false;
    try {
        std::vector<char> vector;
        vector.reserve(size_t(std::numeric_limits<ptrdiff_t>::max()));
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    CHECK(caught, "vector::reserve did not throw");
}

struct alignas(512) Wide {
    char bytes[1500];
};

static void use_containers(int seed)
{
    std::map<std::string, std::vector<int>> map;
    for (int i = 0; i < 2000; i++)
        map["key " + std::to_string(i * seed % 1013)].push_back(i);
    size_t total = 0;
    for (const auto &entry : map)
        total += entry.second.size();
    CHECK(total == 2000, "%zu entries", total);
    std::vector<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < 100; i++) {
        wide.push_back(std::make_unique<Wide>());
        CHECK(is_aligned(wide.back().get(), 512), "an over-aligned type at %p",
              static_cast<void *>(wide.back().get()));
        memset(wide.back()->bytes, i, sizeof wide.back()->bytes);
    }
    for (int i = 0; i < 100; i++)
        CHECK(wide[size_t(i)]->bytes[1499] == char(i), "content of %d", i);
    std::shared_ptr<int[]> shared(new int[1000]());
    CHECK(shared[999] == 0, "new int[1000]()");
}

/* Exceptions are allocated, too, and are freed by whoever catches them last. */
static void throw_often(int seed)
{
    for (int i = 0; i < 500; i++) {
        std::exception_ptr kept;
        try {
            throw std::runtime_error("number " + std::to_string(i + seed));
        } catch (...) {
            kept = std::current_exception();
        }
        try {
            std::rethrow_exception(kept);
        } catch (const std::runtime_error &error) {
            CHECK(std::string(error.what()) == "number " + std::to_string(i + seed), "%s",
                  error.what());
        }
    }
}

int main()
{
    plain_forms();
    aligned_forms();
    all_fail();
    new_handlers();
    impossible_alignment();
    handler_makes_room();
    arrays_too_large();
    std::vector<std::thread> threads;
    for (int i = 1; i <= 4; i++)
        threads.emplace_back([i] {
            use_containers(i);
            throw_often(i);
            all_fail();
        });
    for (auto &thread : threads)
        thread.join();
    return 0;
}
