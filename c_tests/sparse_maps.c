// control: glibc
/* 1 TiB of live memory in sparse maps of 1 to 4 GiB, grown and shrunk, and given back entirely. */
#include "check.h"

#define MAPS 512
#define TOUCHED 5

static unsigned char *place(unsigned char *map, size_t size, size_t i)
{
    return map + (size - 64) / (TOUCHED - 1) * i / 8 * 8;
}

static void mark(unsigned char *map, size_t size, size_t seed)
{
    size_t i;
    for (i = 0; i < TOUCHED; i++)
        pattern_fill(place(map, size, i), 64, seed + i);
}

static void check_marks(unsigned char *map, size_t size, size_t seed, size_t within)
{
    size_t i;
    for (i = 0; i < TOUCHED; i++)
        if (place(map, size, i) + 64 <= map + within)
            CHECK(pattern_holds(place(map, size, i), 64, seed + i), "map %zu at %zu", seed, i);
}

int main(void)
{
    static unsigned char *maps[MAPS];
    static size_t sizes[MAPS];
    size_t i, total = 0, resident;
    /* A mark takes 2 MiB then, on glibc, too. */
    int marks_are_large = huge_pages_come_unasked() == 1;
    for (i = 0; i < MAPS; i++) {
        sizes[i] = GIB + i % 3 * GIB;
        maps[i] = (unsigned char *)(i % 2 == 0 ? malloc(sizes[i]) : calloc(1, sizes[i]));
        CHECK(maps[i] != NULL, "%zu bytes after %zu", sizes[i], total);
        mark(maps[i], sizes[i], i * 10);
        total += sizes[i];
    }
    CHECK(total >= 1023 * GIB, "only %zu bytes", total);
    for (i = 0; i < MAPS; i++)
        check_marks(maps[i], sizes[i], i * 10, sizes[i]);
    resident = resident_kib();
    CHECK(resident < 128 * KIB || marks_are_large, "%zu KiB resident", resident);
    /* Growing moves pages, not bytes: copying a GiB would make it resident. */
    for (i = 0; i < MAPS; i += 4) {
        size_t old = sizes[i], kept;
        sizes[i] = i % 8 == 0 ? old + GIB : old / 2;
        kept = old < sizes[i] ? old : sizes[i];
        maps[i] = (unsigned char *)realloc(maps[i], sizes[i]);
        CHECK(maps[i] != NULL, "realloc from %zu to %zu", old, sizes[i]);
        check_marks(maps[i], old, i * 10, kept);
        mark(maps[i], sizes[i], i * 10);
    }
    for (i = 0; i < MAPS; i++) {
        check_marks(maps[i], sizes[i], i * 10, sizes[i]);
        CHECK(malloc_usable_size(maps[i]) >= sizes[i], "map %zu", i);
    }
    CHECK(resident_kib() < 192 * KIB || marks_are_large, "%zu KiB resident", resident_kib());
    for (i = 0; i < MAPS; i++)
        free(maps[i]);
    CHECK(resident_kib() < 64 * KIB, "%zu KiB resident", resident_kib());
    CHECK(mapped_kib() < 64 * GIB / KIB, "%zu KiB are still mapped", mapped_kib());
    return 0;
}
