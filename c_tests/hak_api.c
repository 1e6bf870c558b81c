/* The functions of hakmem.h: the malloc family under own names, and what only hakmem has. */
#include "check.h"

#include <hakmem.h>

/* Without -lhakmem the preload provides these; the linker must not insist on them. */
#pragma weak hak_aligned_alloc
#pragma weak hak_calloc
#pragma weak hak_free
#pragma weak hak_free_aligned_sized
#pragma weak hak_free_sized
#pragma weak hak_good_size
#pragma weak hak_malloc
#pragma weak hak_malloc_at_least
#pragma weak hak_posix_memalign
#pragma weak hak_realloc
#pragma weak hak_reallocarray
#pragma weak hak_stats_json
#pragma weak hak_stats_print
#pragma weak hak_trim
#pragma weak hak_usable_size
#pragma weak hak_version

static const size_t SIZES[] = {0, 1, 16, 17, 100, 1000, 1024, 1025, 5000, 33000, 70000, 300000,
                               1 << 20, (1 << 20) + 1, 5 << 20, 50 << 20};

static void allocation(void)
{
    size_t i;
    for (i = 0; i < COUNT(SIZES); i++) {
        size_t size = SIZES[i], actual = 0;
        void *aligned = NULL;
        unsigned char *block = (unsigned char *)hak_malloc(size), *zeros;
        errno = 3;
        CHECK(block != NULL && is_aligned(block, 16), "hak_malloc(%zu)", size);
        CHECK(hak_usable_size(block) >= size, "hak_usable_size(%zu)", size);
        CHECK(hak_usable_size(block) == malloc_usable_size(block), "both names say the same");
        pattern_fill(block, size, i);
        block = (unsigned char *)hak_realloc(block, size * 2 + 1);
        CHECK(block != NULL && pattern_holds(block, size, i), "hak_realloc of %zu", size);
        block = (unsigned char *)hak_reallocarray(block, 3, size + 1);
        CHECK(block != NULL && pattern_holds(block, size, i), "hak_reallocarray of %zu", size);
        hak_free(block);

        zeros = (unsigned char *)hak_calloc(1, size);
        CHECK(zeros != NULL && all_zero(zeros, size), "hak_calloc(%zu)", size);
        hak_free_sized(zeros, size);
        block = (unsigned char *)hak_aligned_alloc(4096, size);
        CHECK(block != NULL && is_aligned(block, 4096), "hak_aligned_alloc(%zu)", size);
        hak_free_aligned_sized(block, 4096, size);
        CHECK(hak_posix_memalign(&aligned, 64, size) == 0 && is_aligned(aligned, 64),
              "hak_posix_memalign(%zu)", size);
        hak_free(aligned);

        block = (unsigned char *)hak_malloc_at_least(size, &actual);
        CHECK(block != NULL && actual >= size && actual == hak_usable_size(block),
              "hak_malloc_at_least(%zu) says %zu", size, actual);
        memset(block, 1, actual);
        hak_free(block);
        block = (unsigned char *)hak_malloc_at_least(size, NULL);
        CHECK(block != NULL, "hak_malloc_at_least without a place for the size");
        free(block);
        CHECK(errno == 3, "errno changed with %zu bytes", size);
    }
    CHECK(hak_usable_size(NULL) == 0, "hak_usable_size(NULL)");
    hak_free(NULL);
    CHECK(hak_realloc(hak_malloc(10), opaque(0)) == NULL, "hak_realloc to 0");
}

static void failures(void)
{
    size_t actual = 12345;
    void *block = &actual;
    errno = 0;
    CHECK(hak_malloc(opaque(SIZE_MAX)) == NULL && errno == ENOMEM, "hak_malloc(SIZE_MAX)");
    errno = 0;
    CHECK(hak_calloc(opaque(SIZE_MAX), opaque(16)) == NULL && errno == ENOMEM, "hak_calloc");
    errno = 0;
    CHECK(hak_reallocarray(NULL, opaque(SIZE_MAX), opaque(16)) == NULL && errno == ENOMEM,
          "hak_reallocarray");
    errno = 0;
    CHECK(hak_malloc_at_least(opaque(SIZE_MAX / 2 + 1), &actual) == NULL && errno == ENOMEM,
          "hak_malloc_at_least");
    CHECK(actual == 12345, "it wrote the size although it failed");
    errno = 0;
    CHECK(hak_posix_memalign(&block, opaque(24), 8) == EINVAL, "an alignment of 24");
    CHECK(hak_posix_memalign(&block, 64, opaque(SIZE_MAX)) == ENOMEM, "SIZE_MAX bytes");
    CHECK(block == &actual, "it wrote the block although it failed");
    CHECK(posix_memalign(&block, 64, opaque(SIZE_MAX)) == ENOMEM, "SIZE_MAX bytes");
    CHECK(errno == 0, "posix_memalign reports by its result alone");
}

/* To ask for the good size wastes nothing, and good sizes are their own good size. */
static void good_sizes(void)
{
    size_t size, last = 0;
    for (size = 1; size < 20 * MIB; size += 1 + size / 100) {
        size_t good = hak_good_size(size);
        void *block = hak_malloc(size);
        CHECK(good >= size, "hak_good_size(%zu) is %zu", size, good);
        CHECK(good >= last, "hak_good_size(%zu) is %zu, before it was %zu", size, good, last);
        CHECK(hak_good_size(good) == good, "hak_good_size(%zu) is %zu", good, hak_good_size(good));
        CHECK(good <= size + size / 4 + 4096, "hak_good_size(%zu) is %zu", size, good);
        CHECK(block != NULL && hak_usable_size(block) >= good, "hak_malloc(%zu) has %zu of %zu",
              size, hak_usable_size(block), good);
        hak_free(block);
        last = good;
    }
    CHECK(hak_good_size(SIZE_MAX) == SIZE_MAX || hak_good_size(SIZE_MAX) == 0
              || hak_malloc(hak_good_size(SIZE_MAX)) == NULL,
          "hak_good_size(SIZE_MAX) is %zu", hak_good_size(SIZE_MAX));
}

static void reports(void)
{
    static char json[1 << 20], small[10];
    size_t length = hak_stats_json(json, sizeof json), table;
    int output[2];
    ssize_t got;
    CHECK(length > 0 && length < sizeof json && strlen(json) == length, "%zu bytes", length);
    CHECK(json[0] == '{' && strchr(json, '}') != NULL, "it begins with %.40s", json);
    CHECK(strstr(json, hak_version()) != NULL, "the version is not in %.400s", json);
    CHECK(hak_stats_json(NULL, 0) > 10, "the length alone");
    memset(small, 'x', sizeof small);
    CHECK(hak_stats_json(small, sizeof small - 1) > 10, "a buffer that is too small");
    CHECK(strlen(small) < sizeof small - 1 && strncmp(small, json, strlen(small)) == 0,
          "a buffer that is too small");
    CHECK(small[sizeof small - 1] == 'x', "it wrote beyond the end");

    CHECK(pipe(output) == 0 && fcntl(output[1], F_SETPIPE_SZ, 1 << 20) > 0, "pipe");
    hak_stats_print(output[1]);
    close(output[1]);
    for (table = 0; (got = read(output[0], json + table, sizeof json - table)) > 0;)
        table += (size_t)got;
    close(output[0]);
    CHECK(table > 100 && memchr(json, '\n', table) != NULL, "a table of %zu bytes", table);
    hak_stats_print(-1);
}

int main(void)
{
    char *block;
    CHECK(strcmp(hak_version(), "") != 0 && strchr(hak_version(), '.') != NULL, "version %s",
          hak_version());
    allocation();
    failures();
    good_sizes();
    reports();
    block = (char *)hak_malloc(40 * MIB);
    CHECK(block != NULL, "hak_malloc");
    memset(block, 1, 40 * MIB);
    hak_free(block);
    errno = 3;
    hak_trim(0);
    CHECK(hak_trim(0) == 0, "after a trim there is something left to trim");
    CHECK(errno == 3, "hak_trim changed errno");
    CHECK(resident_kib() < 24 * KIB, "%zu KiB resident after hak_trim", resident_kib());
    return 0;
}
