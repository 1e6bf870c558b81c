// control: glibc
/*
 * A life for a system in which the calls for memory fail: tests/failing_calls.rs leads it once for each
 * call that can. Once the calls succeed again nothing must be missing: the same life can be led in full,
 * and leaves behind what it leaves in a process in which nothing ever failed.
 *
 * Run alone, nothing may fail.
 *   TEST_FAILING  calls fail until FAILURES_END: those of hakmem from its first one on
 *   TEST_LEFT     what is left of a process in which nothing failed, as this program prints it then
 */
#include "life.h"

/* What the runner looks for: writes to no file, which fail without harm if nobody is looking. */
enum { FAILURES_BEGIN = 1, FAILURES_END = 2 };

static void mark(size_t phase)
{
    ssize_t nothing = write(-1, "..", phase);
    CHECK(nothing < 0, "a write to no file");
}

/* What is left when all is freed: KiB of addresses and of memory, and what hakmem takes for live. */
static const char *const LEFT[] = {
    "mapped", "resident", "live_bytes", "small_live_blocks", "run_live_blocks", "large_live_blocks",
};
enum { MAPPED, RESIDENT, FIRST_OF_HAKMEM };

/*
 * In KiB, pages that were touched here and there; a block or a slab lost is more. Where huge pages come unasked, and
 * cannot be refused because that call is the one that fails, one of them.
 */
static size_t slack(void)
{
    return huge_pages_come_unasked() == 1 ? 2 * KIB : 128;
}

int main(void)
{
    const char *expected = getenv("TEST_LEFT");
    size_t left[COUNT(LEFT)] = {0}, i;
    may_fail = getenv("TEST_FAILING") != NULL;
    mark(FAILURES_BEGIN);
    life();
    /* Some of what lives is freed while the calls fail, and some afterwards. */
    thin_out(0, 2);
    mark(FAILURES_END);
    may_fail = 0;
    for (i = 0; i < count; i++)
        verify(&blocks[i]);
    life();
    end_of_life();

    if (on_hakmem()) {
        for (i = FIRST_OF_HAKMEM; i < COUNT(LEFT); i++)
            left[i] = number(LEFT[i]);
        CHECK(number("slabs_taken") - number("slabs_given") == number("slabs"),
              "of %zu slabs %zu came back, and %zu are left", number("slabs_taken"),
              number("slabs_given"), number("slabs"));
    }
    left[MAPPED] = mapped_kib();
    left[RESIDENT] = resident_kib();
    for (i = 0; expected != NULL && i < COUNT(LEFT); i++) {
        /* What a block counts for depends on whether there was memory to guard it. */
        int or_less = i < FIRST_OF_HAKMEM || getenv("HAKMEM_GUARD") != NULL;
        char *rest;
        size_t value = strtoul(expected, &rest, 10);
        expected = rest;
        value += i == RESIDENT ? slack() : 0;
        CHECK(left[i] == value || (or_less && left[i] < value),
              "left are %s %zu; where nothing fails, %zu", LEFT[i], left[i], value);
    }
    if (getenv("TEST_FAILING") != NULL) {
        char line[200];
        size_t length = 0;
        for (i = 0; i < COUNT(LEFT); i++)
            length += (size_t)snprintf(line + length, sizeof line - length, "%zu ", left[i]);
        length += (size_t)snprintf(line + length, sizeof line - length, "%zu\n", refused);
        CHECK(write(STDOUT_FILENO, line, length) == (ssize_t)length, "write");
    }
    return 0;
}
