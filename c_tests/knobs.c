/*
 * An unknown HAKMEM_ name or a bad value is one line on stderr that names it, and changes nothing
 * else; every known one is silent. The program runs itself with each setting.
 */
#include "check.h"

static char *program;

/* Runs this program again with `settings` added; returns how many lines it wrote on stderr. */
static size_t lines_with(const char *settings[], size_t count, char *text, size_t room)
{
    int output[2], status;
    size_t length = 0, lines = 0, i;
    ssize_t got;
    pid_t child;
    CHECK(pipe(output) == 0, "pipe");
    child = fork();
    CHECK(child >= 0, "fork");
    if (child == 0) {
        char worker[] = "worker";
        char *arguments[] = {program, worker, NULL};
        for (i = 0; i < count; i++)
            putenv((char *)(uintptr_t)settings[i]);
        dup2(output[1], STDERR_FILENO);
        execve("/proc/self/exe", arguments, environ);
        _exit(98);
    }
    close(output[1]);
    while ((got = read(output[0], text + length, room - 1 - length)) > 0)
        length += (size_t)got;
    close(output[0]);
    text[length] = '\0';
    status = wait_for(child);
    CHECK(status == 0, "with %s the program ended with %d: %s", count > 0 ? settings[0] : "nothing",
          status, text);
    for (i = 0; i < length; i++)
        lines += text[i] == '\n';
    CHECK(length == 0 || text[length - 1] == '\n', "the last line has no end: %s", text);
    return lines;
}

static void must_be_silent(const char *setting)
{
    char text[8192];
    const char *settings[1];
    size_t lines;
    settings[0] = setting;
    lines = lines_with(settings, 1, text, sizeof text);
    CHECK(lines == 0, "with %s: %s", setting, text);
}

static void must_complain(const char *setting)
{
    char text[8192], name[64];
    const char *settings[1];
    size_t lines, length = strcspn(setting, "=");
    settings[0] = setting;
    lines = lines_with(settings, 1, text, sizeof text);
    CHECK(lines == 1, "with %s there are %zu lines: %s", setting, lines, text);
    memcpy(name, setting, length);
    name[length] = '\0';
    CHECK(strstr(text, name) != NULL, "with %s: %s", setting, text);
    CHECK(strstr(text, "hakmem") != NULL, "nobody knows who says this: %s", text);
}

/* What the program does under each setting: a little of everything. */
static int worker(void)
{
    uint64_t state = 5;
    unsigned char *blocks[400];
    size_t i;
    for (i = 0; i < COUNT(blocks); i++) {
        size_t size = random_size(&state, 4 * MIB);
        blocks[i] = (unsigned char *)calloc(1, size);
        CHECK(blocks[i] != NULL && all_zero(blocks[i], size), "calloc(1, %zu)", size);
        pattern_fill(blocks[i], size < 500 ? size : 500, i);
    }
    state = 5;
    for (i = 0; i < COUNT(blocks); i++) {
        size_t size = random_size(&state, 4 * MIB);
        CHECK(pattern_holds(blocks[i], size < 500 ? size : 500, i), "%zu bytes", size);
        free(blocks[i]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const KNOWN[] = {
        "HAKMEM_TINY_USE_SUPERSLAB=1",  "HAKMEM_TINY_USE_SUPERSLAB=0",
        "HAKMEM_TINY_PREALLOCATE=0",    "HAKMEM_TINY_PREALLOCATE=1",
        "HAKMEM_DISABLE_MAGAZINE=1",    "HAKMEM_DISABLE_MAGAZINE=0",
        "HAKMEM_DISABLE_OUTBOX=1",      "HAKMEM_DISABLE_BIGCACHE=1",
        "HAKMEM_DISABLE_WHALE=1",       "HAKMEM_DISABLE_BATCH=1",
        "HAKMEM_DISABLE_POPULATE=1",    "HAKMEM_DISABLE_THP=1",
        "HAKMEM_DISABLE_HOLE_PURGE=1",  "HAKMEM_DISABLE_SITES=1",
        "HAKMEM_MINIMAL=1",             "HAKMEM_MINIMAL=0",
        "HAKMEM_WARM_MB=4",             "HAKMEM_WARM_MB=0",
        "HAKMEM_WARM_PERCENT=10",       "HAKMEM_WARM_PERCENT=0",
        "HAKMEM_VERBOSE=0",             "HAKMEM_STATS=0",
        /* An empty value is the default. */
        "HAKMEM_WARM_MB=",              "HAKMEM_MINIMAL=",
        /* Not ours: only names with our prefix are looked at. */
        "HAKMEMX=1",                    "NOT_HAKMEM_WARM_MB=banana",
    };
    static const char *const WRONG[] = {
        "HAKMEM_BOGUS=1",
        "HAKMEM_DISABLE_MAGAZINES=1",
        "HAKMEM_=1",
        "HAKMEM_WARM_MB=banana",
        "HAKMEM_WARM_MB=-1",
        "HAKMEM_WARM_MB=12x",
        "HAKMEM_WARM_MB=99999999999999999999999999",
        "HAKMEM_WARM_PERCENT=lots",
        "HAKMEM_MINIMAL=perhaps",
        "HAKMEM_DISABLE_THP=2",
        "HAKMEM_STATS=everything",
    };
    const char *both[2];
    char text[8192], *list;
    size_t i, lines;
    program = argv[0];
    if (argc > 1)
        return worker();

    CHECK((lines = lines_with(NULL, 0, text, sizeof text)) == 0, "without a setting: %s", text);
    for (i = 0; i < COUNT(KNOWN); i++)
        must_be_silent(KNOWN[i]);
    for (i = 0; i < COUNT(WRONG); i++)
        must_complain(WRONG[i]);
    both[0] = "HAKMEM_VERBOSE=1";
    both[1] = "HAKMEM_DISABLE_WHALE=1";
    lines = lines_with(both, 2, text, sizeof text);
    CHECK(lines == 1 && strstr(text, "hakmem ") != NULL && strstr(text, "whale") != NULL,
          "what it says of itself is %zu lines: %s", lines, text);
    both[0] = "HAKMEM_FIRST=1";
    both[1] = "HAKMEM_SECOND=2";
    lines = lines_with(both, 2, text, sizeof text);
    CHECK(lines == 2 && strstr(text, "HAKMEM_FIRST") != NULL && strstr(text, "HAKMEM_SECOND") != NULL,
          "two wrong names make %zu lines: %s", lines, text);
    /* A value of any length is reported without overflowing anything. */
    list = (char *)malloc(70000);
    CHECK(list != NULL, "malloc");
    memset(list, 'x', 70000);
    memcpy(list, "HAKMEM_WARM_MB=", 15);
    list[69999] = '\0';
    both[0] = list;
    lines = lines_with(both, 1, text, sizeof text);
    CHECK(lines == 1 && strstr(text, "HAKMEM_WARM_MB") != NULL, "%zu lines for a long value", lines);
    free(list);
    return 0;
}
