/* Runs one program and reports what it used. Between the driver and the workload stands this small static
 * program, because Linux lets a child inherit the peak resident memory of the process that started it: under
 * a driver of 10 MiB no program would seem to peak below 10 MiB.
 *
 *   launch REPEAT SECONDS OUTPUT PRELOAD PROGRAM ARGS…
 *
 * OUTPUT is a file for the program's standard output, or "-" for the launcher's own. PRELOAD goes into the
 * program's LD_PRELOAD ("" for none) and nowhere else. A program that takes longer than SECONDS is killed with
 * its whole process group; so it is when the launcher dies. For each run one line:
 *   run WALL_NS USER_US SYS_US PEAK_KIB MINOR MAJOR STATUS        STATUS 124: out of time, 128 + n: signal n
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile pid_t child;
static volatile sig_atomic_t late;

static void out_of_time(int signal)
{
	(void)signal;
	late = 1;
	if (child > 0)
		kill(-child, SIGKILL);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc < 6)
		return 2;
	long repeat = strtol(argv[1], NULL, 10);
	unsigned seconds = (unsigned)strtol(argv[2], NULL, 10);
	if (*argv[4])
		setenv("LD_PRELOAD", argv[4], 1);
	signal(SIGALRM, out_of_time);
	alarm(seconds);
	for (long i = 0; i < repeat && !late; i++) {
		uint64_t t = now_ns();
		pid_t pid = vfork();
		if (pid < 0)
			return 2;
		if (pid == 0) {
			setpgid(0, 0);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (strcmp(argv[3], "-")) {
				int fd = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC, 0600);
				if (fd < 0)
					_exit(126);
				dup2(fd, 1);
				close(fd);
			}
			execvp(argv[5], argv + 5);
			_exit(127);
		}
		child = pid;
		int status;
		struct rusage u;
		while (wait4(pid, &status, 0, &u) < 0)
			if (errno != EINTR)
				return 2;
		child = 0;
		t = now_ns() - t;
		int code = late ? 124 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		dprintf(1, "run %llu %llu %llu %ld %ld %ld %d\n", (unsigned long long)t,
		        (unsigned long long)u.ru_utime.tv_sec * 1000000u + (unsigned long long)u.ru_utime.tv_usec,
		        (unsigned long long)u.ru_stime.tv_sec * 1000000u + (unsigned long long)u.ru_stime.tv_usec,
		        u.ru_maxrss, u.ru_minflt, u.ru_majflt, code);
	}
	return 0;
}
