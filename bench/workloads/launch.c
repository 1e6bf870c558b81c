/* Runs one program and reports what it used. Between the driver and the workload stands this small static
 * program, because Linux lets a child inherit the peak resident memory of the process that started it: under
 * a driver of 10 MiB no program would seem to peak below 10 MiB.
 *
 *   launch REPEAT SECONDS EVERY OUTPUT PRELOAD PROGRAM ARGS…
 *
 * EVERY is how many milliseconds apart the program's resident memory is read (/proc/PID/statm, which counts the
 * whole process), 0 for never; from that come a curve over time and the integral, resident byte-seconds. OUTPUT is a
 * file for the program's standard output, or "-" for the launcher's own. PRELOAD goes into the program's LD_PRELOAD
 * ("" for none) and nowhere else.
 *
 * The program leads a process group, and nobody of it stays: the group is killed when the program has ended, when it
 * takes longer than SECONDS, and when the launcher is told to end or the driver dies. Only of a launcher that is
 * killed itself no more than the program ends. For each run one line:
 *   run WALL_NS USER_US SYS_US PEAK_KIB MINOR MAJOR STATUS        STATUS 124: out of time, 128 + n: signal n
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile pid_t child;
static volatile sig_atomic_t late;

static void kill_group(void)
{
	if (child > 0)
		kill(-child, SIGKILL);
}

static void out_of_time(int signal)
{
	(void)signal;
	late = 1;
	kill_group();
}

static void told_to_end(int signal)
{
	kill_group();
	_exit(128 + signal);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Bytes in pages that the process has resident; 0 once it has ended. */
static double resident(int statm)
{
	char text[128];
	ssize_t n = pread(statm, text, sizeof text - 1, 0);
	if (n <= 0)
		return 0;
	text[n] = 0;
	const char *second = strchr(text, ' ');
	return second ? (double)strtoull(second, NULL, 10) * (double)sysconf(_SC_PAGESIZE) : 0;
}

/* Reads the resident memory until the process ends, and writes what came of it. */
__attribute__((noinline)) static void follow(pid_t pid, uint64_t start, int every)
{
	/* A point of the curve stands for the mean over about this long; for twice that each time there is no room left. */
	enum { POINTS = 2000, APART_MS = 20 };
	static float at[POINTS], mib[POINTS];
	uint64_t apart = APART_MS * 1000000u;
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	int statm = open(path, O_RDONLY | O_CLOEXEC);
	int ended = (int)syscall(SYS_pidfd_open, pid, 0);
	if (statm < 0 || ended < 0)
		return;
	double before = resident(statm), total = 0, part = 0;
	uint64_t last = now_ns(), part_start = last;
	int points = 0;
	for (int done = 0; !done;) {
		struct pollfd ending = {ended, POLLIN, 0};
		done = poll(&ending, 1, every) != 0 && (ending.revents || late);
		uint64_t now = now_ns();
		double after = done ? before : resident(statm);
		double area = (before + after) / 2 * (double)(now - last) / 1e9;
		total += area;
		part += area;
		before = after;
		last = now;
		if (now - part_start >= apart) {
			if (points == POINTS) {
				points /= 2;
				apart *= 2;
				for (int i = 0; i < points; i++) {
					at[i] = at[2 * i + 1];
					mib[i] = (mib[2 * i] + mib[2 * i + 1]) / 2;
				}
			}
			at[points] = (float)((double)(now - start) / 1e9);
			mib[points++] = (float)(part / ((double)(now - part_start) / 1e9) / (1 << 20));
			part = 0;
			part_start = now;
		}
	}
	close(ended);
	close(statm);
	printf("metric byte-seconds\t%.6g\tMiB s\n", total / (1 << 20));
	for (int i = 0; i < points; i++)
		printf("point resident\t%.4g\t%.4g\tMiB\n", (double)at[i], (double)mib[i]);
	fflush(stdout);
}

/* A function of its own: what the caller has in registers is safe from the child, which runs on the same stack. */
__attribute__((noinline)) static pid_t start(const char *output, char **program)
{
	pid_t pid = vfork();
	if (pid)
		return pid;
	setpgid(0, 0);
	/* The launcher's variable, too: after vfork both have the same memory. Its handlers run after this. */
	child = getpid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (strcmp(output, "-")) {
		int fd = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (fd < 0)
			_exit(126);
		dup2(fd, 1);
		close(fd);
	}
	execvp(program[0], program);
	_exit(127);
}

int main(int argc, char **argv)
{
	if (argc < 7)
		return 2;
	long repeat = strtol(argv[1], NULL, 10);
	unsigned seconds = (unsigned)strtol(argv[2], NULL, 10);
	int every = (int)strtol(argv[3], NULL, 10);
	if (*argv[5])
		setenv("LD_PRELOAD", argv[5], 1);
	signal(SIGALRM, out_of_time);
	signal(SIGINT, told_to_end);
	signal(SIGTERM, told_to_end);
	signal(SIGHUP, told_to_end);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	alarm(seconds);
	for (long i = 0; i < repeat && !late; i++) {
		uint64_t t = now_ns();
		pid_t pid = start(argv[4], argv + 6);
		if (pid < 0)
			return 2;
		if (every > 0)
			follow(pid, t, every);
		siginfo_t end;
		while (waitid(P_PID, (id_t)pid, &end, WEXITED | WNOWAIT) < 0)
			if (errno != EINTR)
				return 2;
		t = now_ns() - t;
		/* Until wait4 the number is nobody else's. */
		kill_group();
		child = 0;
		int status;
		struct rusage u;
		if (wait4(pid, &status, 0, &u) < 0)
			return 2;
		int code = late ? 124 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		dprintf(1, "run %llu %llu %llu %ld %ld %ld %d\n", (unsigned long long)t,
		        (unsigned long long)u.ru_utime.tv_sec * 1000000u + (unsigned long long)u.ru_utime.tv_usec,
		        (unsigned long long)u.ru_stime.tv_sec * 1000000u + (unsigned long long)u.ru_stime.tv_usec,
		        u.ru_maxrss, u.ru_minflt, u.ru_majflt, code);
	}
	return 0;
}
