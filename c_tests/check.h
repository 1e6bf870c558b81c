/*
 * Helpers shared by the test programs. Include this header first: it asks for the GNU names.
 *
 * A program passes by exiting with 0. A failed CHECK writes one line on stderr and exits with 1 at
 * once: after a broken promise of the allocator nothing else that the program does can be trusted.
 *
 * The runner says through the environment what to expect; without it nothing is assumed:
 *   TEST_LIBRARY  the path of libhakmem.so
 *   TEST_ROUNDS   how often to do what is done many times, where a program asks for it
 *   TEST_MODE     preload or linked: that library must serve malloc; control: it must not
 * A line "// control: glibc" in a program says that its property also holds on plain glibc, where
 * it is run as well to prove that the program itself is right.
 */
#ifndef HAKMEM_CHECK_H
#define HAKMEM_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

#define STAMP_KEY UINT64_C(0x5bd1e9955bd1e995)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Takes a format and its arguments behind the condition: what the reader of a failure needs. */
#define CHECK(condition, ...)                                            \
    do {                                                                 \
        if (!(condition))                                                \
            check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__);   \
    } while (0)

__attribute__((noreturn, cold, format(printf, 4, 5))) static inline void
check_failed(const char *file, int line, const char *condition, const char *format, ...)
{
    /* On the stack and by write: the heap may be what is broken. */
    char text[1024];
    int saved = errno;
    int length = snprintf(text, sizeof text, "%s:%d: %s: ", file, line, condition);
    va_list arguments;
    va_start(arguments, format);
    if (length > 0 && (size_t)length < sizeof text)
        length += vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length < sizeof text)
        length += snprintf(text + length, sizeof text - (size_t)length, " (errno %d)\n", saved);
    if ((size_t)length > sizeof text)
        length = (int)sizeof text;
    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(2);
    _exit(1);
}

/* A size that the compiler knows nothing about, so that it neither warns of nor folds the call. */
static inline size_t opaque(size_t value)
{
    volatile size_t hidden = value;
    return hidden;
}

/* A pointer whose origin the compiler forgets: it may no longer leave out the malloc behind it. */
static inline void *launder(void *pointer)
{
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

/* splitmix64: a full-period generator whose state is one word, so that each thread has its own. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* As likely in [1, 2) as in [2, 4) and so on up to `limit`: every size tier gets its share. */
static inline size_t random_size(uint64_t *state, size_t limit)
{
    unsigned bits = 0;
    size_t size;
    while (bits < 63 && ((size_t)1 << (bits + 1)) <= limit)
        bits++;
    size = (size_t)1 << (next_random(state) % (bits + 1));
    size += next_random(state) % size;
    return size > limit ? limit : size;
}

static inline uint64_t pattern_word(uint64_t seed, size_t index)
{
    return (seed + index) * UINT64_C(0x9E3779B97F4A7C15);
}

/* Fills all `size` bytes with a sequence that differs between seeds and along the block. */
static inline void pattern_fill(void *block, size_t size, uint64_t seed)
{
    unsigned char *bytes = (unsigned char *)block;
    size_t index, words = size / 8;
    uint64_t word;
    for (index = 0; index < words; index++) {
        word = pattern_word(seed, index);
        memcpy(bytes + index * 8, &word, 8);
    }
    word = pattern_word(seed, words);
    memcpy(bytes + words * 8, &word, size % 8);
}

/* Whether the first `size` bytes are still those of pattern_fill. */
static inline int pattern_holds(const void *block, size_t size, uint64_t seed)
{
    const unsigned char *bytes = (const unsigned char *)block;
    size_t index, words = size / 8;
    uint64_t word;
    for (index = 0; index < words; index++) {
        word = pattern_word(seed, index);
        if (memcmp(bytes + index * 8, &word, 8) != 0)
            return 0;
    }
    word = pattern_word(seed, words);
    return memcmp(bytes + words * 8, &word, size % 8) == 0;
}

static inline int all_zero(const void *block, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)block;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static inline int is_aligned(const void *pointer, size_t alignment)
{
    return (uintptr_t)pointer % alignment == 0;
}

/* Field `index` of /proc/self/statm in KiB: 0 the address space, 1 what is resident, 5 data. */
static inline size_t statm_kib(int index)
{
    char text[256];
    char *cursor = text;
    unsigned long pages = 0;
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length;
    CHECK(file >= 0, "cannot open /proc/self/statm");
    length = read(file, text, sizeof text - 1);
    close(file);
    CHECK(length > 0, "cannot read /proc/self/statm");
    text[length] = '\0';
    for (; index >= 0; index--)
        pages = strtoul(cursor, &cursor, 10);
    return pages * ((size_t)sysconf(_SC_PAGESIZE) / KIB);
}

static inline size_t mapped_kib(void)
{
    return statm_kib(0);
}

static inline size_t resident_kib(void)
{
    return statm_kib(1);
}

/*
 * Starts the program, which has no arguments, again where the system maps things at the same addresses
 * each time. To be called first by who counts mappings to the page: the library's map takes another
 * 1 MiB with each 16 GiB of addresses in use, and mappings that are placed at random lie on both sides
 * of such a border once in a while. Where a container forbids it, the addresses stay random.
 */
static inline void repeat_addresses(void)
{
    static char name[] = "repeated";
    static char *arguments[] = {name, NULL};
    int now = personality(0xffffffff);
    if (now == -1 || (now & ADDR_NO_RANDOMIZE) != 0
        || personality((unsigned long)now | ADDR_NO_RANDOMIZE) == -1)
        return;
    execv("/proc/self/exe", arguments);
    CHECK(0, "execv of itself: %s", strerror(errno));
}

/* A block's size at both ends, and a byte on each page: as much is resident as is live. */
static inline void stamp(unsigned char *block, size_t size)
{
    uint64_t word = size ^ STAMP_KEY;
    size_t at;
    for (at = 4096; at < size; at += 4096)
        block[at] = (unsigned char)at;
    memcpy(block, &word, 8);
    memcpy(block + size - 8, &word, 8);
}

static inline size_t stamped_size(const unsigned char *block)
{
    uint64_t word;
    memcpy(&word, block, 8);
    return (size_t)(word ^ STAMP_KEY);
}

static inline void check_stamp(const unsigned char *block, size_t size)
{
    uint64_t word;
    CHECK(stamped_size(block) == size, "%p has %zu bytes, not %zu", (const void *)block,
          stamped_size(block), size);
    memcpy(&word, block + size - 8, 8);
    CHECK((word ^ STAMP_KEY) == size, "the end of %p, %zu bytes", (const void *)block, size);
}

static inline void sleep_ms(unsigned milliseconds)
{
    struct timespec time;
    time.tv_sec = (time_t)(milliseconds / 1000);
    time.tv_nsec = (long)(milliseconds % 1000) * 1000000L;
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        continue;
}

/* How many rounds a test makes: what is usual, or TEST_ROUNDS, for a longer run by hand. */
static inline size_t test_rounds(size_t usual)
{
    const char *text = getenv("TEST_ROUNDS");
    return text == NULL ? usual : (size_t)strtoul(text, NULL, 10);
}

static inline pthread_t start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, argument);
    CHECK(error == 0, "pthread_create: %s", strerror(error));
    return thread;
}

static inline void *join_thread(pthread_t thread)
{
    void *result = NULL;
    int error = pthread_join(thread, &result);
    CHECK(error == 0, "pthread_join: %s", strerror(error));
    return result;
}

/* Waits for `child` and says how it ended: its exit status, or 128 and the signal's number. */
static inline int wait_for(pid_t child)
{
    int status = 0;
    pid_t ended;
    do
        ended = waitpid(child, &status, 0);
    while (ended < 0 && errno == EINTR);
    CHECK(ended == child, "waitpid(%d)", (int)child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The file that `name` is served from, as the dynamic linker resolves it for this program. */
static inline const char *served_from(const char *name)
{
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, name);
    if (symbol == NULL || dladdr(symbol, &info) == 0)
        return NULL;
    return info.dli_fname;
}

static inline int same_file(const char *one, const char *other)
{
    struct stat first, second;
    return stat(one, &first) == 0 && stat(other, &second) == 0 && first.st_dev == second.st_dev
        && first.st_ino == second.st_ino;
}

/* Whether hakmem serves this program; where a property is hakmem's alone, the control skips it. */
static inline int on_hakmem(void)
{
    return dlsym(RTLD_DEFAULT, "hak_version") != NULL;
}

/*
 * A test that silently runs on another allocator proves nothing, so each program starts by
 * checking which one it got.
 */
__attribute__((constructor)) static inline void check_mode(void)
{
    const char *library = getenv("TEST_LIBRARY");
    const char *mode = getenv("TEST_MODE");
    const char *served;
    if (library == NULL || mode == NULL)
        return;
    served = served_from("malloc");
    /* A static program has no dynamic linker to ask. */
    if (served == NULL)
        return;
    CHECK(same_file(served, library) == (strcmp(mode, "control") != 0),
          "in mode %s malloc comes from %s, the library is %s", mode, served, library);
}

/* Whether the system gives huge pages to programs that have not asked; -1 where the kernel does not say. */
static inline int huge_pages_come_unasked(void)
{
    char text[100];
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    int known = file != NULL && fgets(text, sizeof text, file) != NULL;
    if (file != NULL)
        fclose(file);
    return known ? strstr(text, "[always]") != NULL : -1;
}

#endif
