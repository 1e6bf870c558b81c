// control: glibc
/* mallinfo2, mallinfo, malloc_info and malloc_stats tell the truth about known amounts. */
#include "check.h"

#include <limits.h>
#include <sys/resource.h>

#define SMALL_COUNT 40000
#define SMALL_SIZE 1000
#define LARGE_COUNT 40
#define LARGE_SIZE (5 * MIB)

/* glibc has mallinfo deprecated, but programs still call it. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static size_t live_now(void)
{
    struct mallinfo2 info = mallinfo2();
    /* The blocks of mappings of their own are not part of the arena. */
    return info.uordblks + info.hblkhd;
}

/* Between what was asked for and 1.3 times that, as blocks are rounded up. */
static void check_growth(const char *what, size_t before, size_t after, size_t asked)
{
    size_t grown = after - before;
    CHECK(after >= before && grown >= asked && grown <= asked + asked / 3,
          "%s says %zu, then %zu bytes; %zu were allocated between", what, before, after, asked);
}

static void check_drop(const char *what, size_t before, size_t after)
{
    CHECK(after <= before + MIB, "%s says %zu bytes before, %zu after all was freed", what, before,
          after);
}

/* The output of a function that writes to a stream, or for NULL, of malloc_stats on stderr. */
static void capture(int xml, char *text, size_t room)
{
    FILE *file = tmpfile();
    size_t length;
    CHECK(file != NULL, "tmpfile");
    if (xml) {
        CHECK(malloc_info(0, file) == 0, "malloc_info");
    } else {
        int saved = dup(STDERR_FILENO);
        CHECK(saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0, "dup");
        malloc_stats();
        fflush(stderr);
        CHECK(dup2(saved, STDERR_FILENO) >= 0, "dup2");
        close(saved);
    }
    fflush(file);
    CHECK(fseek(file, 0, SEEK_SET) == 0, "fseek");
    length = fread(text, 1, room - 1, file);
    CHECK(length > 0, "nothing was written");
    text[length] = '\0';
    fclose(file);
}

static const char *last_of(const char *text, const char *what)
{
    const char *found = NULL, *next = text;
    while ((next = strstr(next, what)) != NULL)
        found = next++;
    CHECK(found != NULL, "no \"%s\" in: %.300s", what, text);
    return found + strlen(what);
}

/* Tags open and close in pairs, and there is one root. */
static void check_xml(const char *text)
{
    const char *at = text, *names[32];
    size_t lengths[COUNT(names)], depth = 0;
    int roots = 0;
    while ((at = strchr(at, '<')) != NULL) {
        const char *end = strchr(at, '>');
        CHECK(end != NULL, "a tag without an end: %.60s", at);
        if (at[1] == '/') {
            CHECK(depth > 0, "closes nothing: %.40s", at);
            depth--;
            CHECK(strncmp(at + 2, names[depth], lengths[depth]) == 0
                      && at[2 + lengths[depth]] == '>',
                  "closes the wrong tag: %.40s", at);
        } else if (at[1] != '?' && end[-1] != '/') {
            CHECK(depth < COUNT(names), "deeper than %zu", depth);
            names[depth] = at + 1;
            lengths[depth] = strcspn(at + 1, " >");
            roots += depth++ == 0;
        }
        at = end;
    }
    CHECK(depth == 0 && roots == 1, "%zu tags are open, %d are roots", depth, roots);
    CHECK(strncmp(text, "<malloc version=\"1\">", 20) == 0, "begins with %.40s", text);
}

static size_t xml_system_bytes(void)
{
    static char text[1 << 20];
    capture(1, text, sizeof text);
    check_xml(text);
    return strtoull(last_of(text, "<system type=\"current\" size=\""), NULL, 10);
}

static size_t stats_in_use_bytes(void)
{
    static char text[1 << 20];
    const char *number;
    capture(0, text, sizeof text);
    number = last_of(text, "in use bytes");
    return strtoull(number + strspn(number, " ="), NULL, 10);
}

/* malloc_info writes to its stream and to nothing else: no file is needed on the way. */
static void needs_no_file(void)
{
    static const struct rlimit none = {0, 0};
    char *text = NULL;
    size_t length = 0;
    FILE *stream;
    pid_t child = fork();
    CHECK(child >= 0, "fork");
    if (child != 0) {
        int ended = wait_for(child);
        CHECK(ended == 0, "malloc_info without files ended with %d", ended);
        return;
    }
    stream = open_memstream(&text, &length);
    CHECK(stream != NULL, "open_memstream");
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0 && setrlimit(RLIMIT_FSIZE, &none) == 0, "setrlimit");
    CHECK(malloc_info(0, stream) == 0 && fclose(stream) == 0, "malloc_info");
    check_xml(text);
    _exit(0);
}

static int told;

static void *tell_although_cancelled(void *argument)
{
    CHECK(pthread_cancel(pthread_self()) == 0, "pthread_cancel");
    CHECK(malloc_info(0, (FILE *)argument) == 0, "malloc_info");
    told = 1;
    pthread_testcancel();
    return NULL;
}

/* A thread that is cancelled leaves nothing behind in the middle of a report. */
static void is_not_cancelled(void)
{
    FILE *file = tmpfile();
    CHECK(file != NULL && setvbuf(file, NULL, _IONBF, 0) == 0, "tmpfile");
    CHECK(join_thread(start_thread(tell_although_cancelled, file)) == PTHREAD_CANCELED,
          "the thread was not cancelled");
    CHECK(told, "malloc_info was left");
    fclose(file);
}

int main(void)
{
    static char *small[SMALL_COUNT], *large[LARGE_COUNT];
    size_t info_before, info_after, stats_before, stats_after, system_bytes, i;
    const size_t asked = SMALL_COUNT * (size_t)SMALL_SIZE + LARGE_COUNT * (size_t)LARGE_SIZE;
    struct mallinfo2 info;
    struct mallinfo old;
    FILE *nowhere;

    /* What the functions themselves need is allocated in the first turn. */
    stats_in_use_bytes();
    xml_system_bytes();
    info_before = live_now();
    stats_before = stats_in_use_bytes();
    for (i = 0; i < SMALL_COUNT; i++)
        CHECK((small[i] = (char *)launder(malloc(SMALL_SIZE))) != NULL, "malloc");
    check_growth("mallinfo2 with small blocks", info_before, live_now(),
                 SMALL_COUNT * (size_t)SMALL_SIZE);
    for (i = 0; i < LARGE_COUNT; i++)
        CHECK((large[i] = (char *)launder(malloc(LARGE_SIZE))) != NULL, "malloc");
    info_after = live_now();
    check_growth("mallinfo2", info_before, info_after, asked);
    stats_after = stats_in_use_bytes();
    check_growth("malloc_stats", stats_before, stats_after, asked);

    info = mallinfo2();
    old = mallinfo();
    CHECK((size_t)(unsigned)old.uordblks == (info.uordblks & UINT_MAX), "mallinfo says %d",
          old.uordblks);
    CHECK(info.arena + info.hblkhd >= info_after, "%zu and %zu bytes from the system, %zu live",
          info.arena, info.hblkhd, info_after);
    CHECK(info.uordblks + info.fordblks <= info.arena, "%zu in use and %zu free make more than %zu",
          info.uordblks, info.fordblks, info.arena);
    system_bytes = xml_system_bytes();
    /* glibc counts only its arenas there. */
    CHECK(system_bytes >= (on_hakmem() ? asked : SMALL_COUNT * (size_t)SMALL_SIZE),
          "malloc_info says %zu bytes from the system, %zu are live", system_bytes, asked);
    CHECK(system_bytes <= mapped_kib() * KIB, "malloc_info says %zu bytes, %zu KiB are mapped",
          system_bytes, mapped_kib());

    for (i = 0; i < SMALL_COUNT; i++)
        free(small[i]);
    for (i = 0; i < LARGE_COUNT; i++)
        free(large[i]);
    check_drop("mallinfo2", info_before, live_now());
    check_drop("malloc_stats", stats_before, stats_in_use_bytes());

    nowhere = fopen("/dev/null", "w");
    CHECK(nowhere != NULL, "fopen");
    CHECK(malloc_info(1, nowhere) != 0, "malloc_info takes no options");
    fclose(nowhere);
    needs_no_file();
    /* glibc's can be cancelled wherever the stream can. */
    if (on_hakmem())
        is_not_cancelled();
    return 0;
}
