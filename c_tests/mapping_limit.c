// control: glibc
/*
 * A process that has as many mappings as vm.max_map_count allows, or a few less: then the system makes
 * no new one, and takes none back that lies in the middle of others. NULL with ENOMEM is an answer, but
 * nothing is lost, and when there is room again all of it can be used.
 */
#include "life.h"

#include <sys/mman.h>

#define PAGE ((size_t)4096)

static char *filler;
static size_t filler_pages;
static void *lone[8];
static size_t lone_pages;

static size_t limit_on_mappings(void)
{
    char text[32] = {0};
    int file = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0, "/proc/sys/vm/max_map_count");
    close(file);
    return strtoul(text, NULL, 10);
}

/* A shared page is like no other: one mapping, whatever it lies beside. */
static void *lone_page(void)
{
    return mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Every other page of a range is made different from its neighbours, until there may be no more. */
static void use_all_but(size_t left)
{
    size_t page;
    lone_pages = 0;
    filler_pages = 2 * limit_on_mappings();
    filler = (char *)mmap(NULL, filler_pages * PAGE, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(filler != MAP_FAILED, "mmap of %zu pages", filler_pages);
    for (page = 1; page < filler_pages; page += 2)
        if (mprotect(filler + page * PAGE, PAGE, PROT_READ) != 0)
            break;
    CHECK(page < filler_pages && errno == ENOMEM, "the limit was not met");
    /* For a new mapping the limit is one higher than for a split; both are met now, and then not. */
    while (lone_pages < COUNT(lone) && (lone[lone_pages] = lone_page()) != MAP_FAILED)
        lone_pages++;
    CHECK(lone_pages < COUNT(lone) && errno == ENOMEM, "the limit was not met");
    for (; left >= 2; left -= 2) {
        page -= 2;
        CHECK(mprotect(filler + page * PAGE, PAGE, PROT_NONE) == 0, "mprotect of page %zu", page);
    }
    for (; left > 0 && lone_pages > 0; left--)
        CHECK(munmap(lone[--lone_pages], PAGE) == 0, "munmap of one page");
}

static void use_none(void)
{
    while (lone_pages > 0)
        CHECK(munmap(lone[--lone_pages], PAGE) == 0, "munmap of one page");
    CHECK(munmap(filler, filler_pages * PAGE) == 0, "munmap of the filler");
}

int main(void)
{
    static const size_t LEFT[] = {0, 1, 2, 3, 4, 6, 10};
    size_t i, j, mapped, most;
    repeat_addresses();
    /* What the process needs once and for all, it has. */
    life();
    end_of_life();
    life();
    end_of_life();
    most = mapped_kib();
    for (i = 0; i < COUNT(LEFT); i++) {
        size_t before = refused;
        /* With a life that began before, so that there is something to give back, or without. */
        if (i % 2 == 1) {
            life();
            thin_out(0, 2);
        }
        use_all_but(LEFT[i]);
        may_fail = 1;
        life();
        thin_out(0, 3);
        life();
        thin_out(0, 3);
        use_none();
        may_fail = 0;
        CHECK(LEFT[i] != 0 || refused > before, "nothing was refused at the limit");
        for (j = 0; j < count; j++)
            verify(&blocks[j]);
        life();
        end_of_life();
        mapped = mapped_kib();
        CHECK(mapped <= most || !on_hakmem(),
              "%zu KiB were mapped before, and are %zu KiB after %zu mappings were left", most,
              mapped, LEFT[i]);
        if (on_hakmem())
            CHECK(number("live_bytes") < 4096, "%zu bytes live", number("live_bytes"));
    }
    return 0;
}
