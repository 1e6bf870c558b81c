/*
 * What the allocator says of what it has learned: the strategies and the call sites. And that it learns:
 * windows end, and what they cost is seen.
 */
#include "check.h"

#include <hakmem.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* Without -lhakmem the preload provides these; the linker must not insist on them. */
#pragma weak hak_policy_json
#pragma weak hak_site_list
#pragma weak hak_site_name

#define TAKES 5
#define SMALL ((size_t)1000)

/* Not to be inlined: each is a call site of its own. */
__attribute__((noinline)) static void *take_dense(size_t size)
{
    unsigned char *block = (unsigned char *)launder(malloc(size));
    CHECK(block != NULL, "malloc(%zu)", size);
    memset(block, 1, size);
    return block;
}

__attribute__((noinline)) static void *take_sparse(size_t size)
{
    unsigned char *block = (unsigned char *)launder(malloc(size));
    CHECK(block != NULL, "malloc(%zu)", size);
    block[0] = 1;
    return block;
}

/* One call site for all. */
__attribute__((noinline)) static void *take_any(size_t size)
{
    void *block = launder(malloc(size));
    CHECK(block != NULL, "malloc(%zu)", size);
    return block;
}

/* Page faults of writing to all of a block. */
static size_t faults_of_filling(void *block, size_t size)
{
    struct rusage before, after;
    CHECK(getrusage(RUSAGE_SELF, &before) == 0, "getrusage");
    memset(block, 1, size);
    CHECK(getrusage(RUSAGE_SELF, &after) == 0, "getrusage");
    return (size_t)(after.ru_minflt - before.ru_minflt);
}

/* Nothing is known of the first large block's site: it gets what huge pages there are, all the same. */
static void the_first_block_has_huge_pages(void)
{
    const size_t size = 28 * MIB;
    size_t small, huge, here;
    char *mapped = (char *)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *block;
    CHECK(mapped != (char *)MAP_FAILED, "mmap");
    CHECK(madvise(mapped, size / 2, MADV_NOHUGEPAGE) == 0 || errno == EINVAL, "madvise");
    CHECK(madvise(mapped + size / 2, size / 2, MADV_HUGEPAGE) == 0 || errno == EINVAL, "madvise");
    small = faults_of_filling(mapped, size / 2);
    huge = faults_of_filling(mapped + size / 2, size / 2);
    CHECK(munmap(mapped, size) == 0, "munmap");
    block = (char *)take_any(size);
    here = faults_of_filling(block, size);
    /* Without huge pages in this system the two halves are alike. */
    CHECK(here < small + 2 * huge, "%zu page faults; of one half, %zu in small pages, %zu in huge ones", here, small, huge);
    free(block);
}

static size_t number(const char *json, const char *name)
{
    char quoted[64];
    const char *at;
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    at = strstr(json, quoted);
    CHECK(at != NULL, "%s is not in %.400s", quoted, json);
    return strtoul(at + strlen(quoted), NULL, 10);
}

static const char *policy(void)
{
    static char json[1 << 14];
    size_t length = hak_policy_json(json, sizeof json);
    CHECK(length > 0 && length < sizeof json && strlen(json) == length, "%zu bytes", length);
    CHECK(json[0] == '{' && json[length - 1] == '}', "it is %.400s", json);
    return json;
}

static void the_policy(void)
{
    static char small[10];
    const char *json = policy(), *at = json;
    size_t strategies = 0;
    errno = 3;
    CHECK(strstr(json, "\"state\":\"learn\"") != NULL, "it is %.400s", json);
    CHECK(strstr(json, "\"strategy\":\"keep-3391K\"") != NULL, "it is %.400s", json);
    CHECK(number(json, "warm_floor_bytes") == 3391 * KIB, "it is %.400s", json);
    while ((at = strstr(at, "\"name\":\"keep-")) != NULL) {
        at++;
        strategies++;
    }
    CHECK(strategies == 12, "%zu strategies", strategies);
    CHECK(hak_policy_json(NULL, 0) >= 100 && errno == 3, "the length alone");
    memset(small, 'x', sizeof small);
    CHECK(hak_policy_json(small, sizeof small - 1) >= 100 && strlen(small) == sizeof small - 2
              && small[sizeof small - 1] == 'x',
          "a buffer that is too small");
}

/* The one site that took blocks of so many bytes at most. */
static struct hak_site site_of(size_t largest)
{
    static struct hak_site sites[1000];
    struct hak_site found = {0};
    size_t count = hak_site_list(sites, COUNT(sites)), i;
    CHECK(count > 0 && count < COUNT(sites), "%zu sites", count);
    CHECK(hak_site_list(NULL, 0) == count, "another number without room");
    for (i = 0; i < count; i++)
        if (sites[i].largest == largest)
            found = sites[i];
    CHECK(found.largest == largest, "no site took %zu bytes", largest);
    return found;
}

static void the_sites(void)
{
    static void *blocks[2][TAKES];
    const size_t dense = 3 * MIB + 64 * KIB, sparse = 7 * MIB;
    struct hak_site site;
    char name[1000], short_name[8];
    size_t i;
    for (i = 0; i < TAKES; i++) {
        blocks[0][i] = take_dense(dense);
        blocks[1][i] = take_sparse(sparse);
    }
    site = site_of(dense);
    CHECK(site.takes == TAKES && site.bytes == TAKES * dense && site.density == 0 && site.growing == 0,
          "%zu takes of %zu bytes, density %u", (size_t)site.takes, (size_t)site.bytes, site.density);
    for (i = 0; i < TAKES; i++) {
        free(blocks[0][i]);
        free(blocks[1][i]);
    }
    CHECK(site_of(dense).density == 2, "density %u", site_of(dense).density);
    CHECK(site_of(sparse).density == 1, "density %u", site_of(sparse).density);
    /* Ever again soon after it went back: the site earns room for as many. */
    for (i = 0; i < 4; i++) {
        malloc_trim(0);
        free(take_dense(dense));
    }
    CHECK(site_of(dense).credit > 0, "no credit after %zu takes", (size_t)site_of(dense).takes);

    errno = 3;
    CHECK(hak_site_name(site.address, name, sizeof name) == strlen(name) && errno == 3, "%s", name);
    CHECK(strstr(name, "learning") != NULL && strstr(name, "+0x") != NULL, "the site is called %s",
          name);
    CHECK(hak_site_name(site.address, short_name, sizeof short_name) == strlen(name)
              && strlen(short_name) == sizeof short_name - 1,
          "the site is called %s", short_name);
    CHECK(hak_site_name(NULL, name, sizeof name) == 3 && strcmp(name, "0x0") == 0, "it is %s", name);
}

/* What a program has given back itself it may take again. */
static void trims_are_no_mistakes(void)
{
    static void *blocks[2000];
    size_t first = number(policy(), "windows"), missed = 0, i;
    while (number(policy(), "windows") < first + 4) {
        for (i = 0; i < COUNT(blocks); i++) {
            blocks[i] = launder(malloc(SMALL));
            *(char *)blocks[i] = 1;
        }
        for (i = 0; i < COUNT(blocks); i++)
            free(blocks[i]);
        malloc_trim(0);
        if (number(policy(), "windows") > first + 1 && number(policy(), "missed") > missed)
            missed = number(policy(), "missed");
    }
    CHECK(missed < 1000, "%zu ns of each ms for what was missed", missed);
}

/* Whatever comes and goes, windows end, and what is kept free has a price. */
static void windows(void)
{
    static void *blocks[20000];
    size_t i, rent = 0;
    while (number(policy(), "windows") < 3 || rent == 0) {
        for (i = 0; i < COUNT(blocks); i++)
            blocks[i] = launder(malloc(SMALL));
        for (i = 0; i < COUNT(blocks); i++)
            free(blocks[i]);
        if (number(policy(), "rent") > rent)
            rent = number(policy(), "rent");
    }
    CHECK(number(policy(), "fault_ns") > 0 && number(policy(), "faults_timed") >= 5,
          "%zu faults of so many small blocks were timed", number(policy(), "faults_timed"));
}

/* A program that frees much and takes it again soon needs another strategy than it begins with, and gets it. */
static void a_strategy_comes_into_force(void)
{
    static void *blocks[16000];
    static const char IN_FORCE[] = "\"strategy\":\"keep-";
    const char *name;
    size_t i, turn;
    for (turn = 0; number(policy(), "changes") == 0; turn++) {
        CHECK(turn < 2000, "no other strategy after %zu windows", number(policy(), "windows"));
        for (i = 0; i < COUNT(blocks); i++) {
            blocks[i] = launder(malloc(1000));
            *(char *)blocks[i] = 1;
        }
        for (i = 0; i < COUNT(blocks); i++)
            free(blocks[i]);
        sleep_ms(10);
    }
    name = strstr(policy(), IN_FORCE);
    CHECK(name != NULL && number(policy(), "warm_floor_bytes") == strtoul(name + strlen(IN_FORCE), NULL, 10) * KIB,
          "it is %.400s", policy());
}

/*
 * Behind one call site may be a program's own allocator, or another phase: that the first block was touched all over
 * says little of later ones.
 */
static void a_dense_site_becomes_sparse(size_t size)
{
    static char *blocks[24];
    size_t round, before, i, j;
    free(memset(take_any(size), 1, size));
    before = resident_kib();
    for (round = 0; round < 5; round++) {
        for (i = 0; i < COUNT(blocks); i++) {
            blocks[i] = (char *)take_any(size);
            for (j = 0; j < 10; j++)
                blocks[i][j * size / 10] = 1;
        }
        if (round < 4)
            for (i = 0; i < COUNT(blocks); i++)
                free(blocks[i]);
    }
    CHECK(resident_kib() < before + 4 * KIB, "%zu KiB resident, %zu before, blocks of %zu", resident_kib(), before, size);
    for (i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
}

int main(void)
{
    the_first_block_has_huge_pages();
    the_policy();
    the_sites();
    a_dense_site_becomes_sparse(9 * MIB);
    a_dense_site_becomes_sparse(38 * MIB);
    a_dense_site_becomes_sparse(1096 * KIB);
    trims_are_no_mistakes();
    windows();
    a_strategy_comes_into_force();
    return 0;
}
