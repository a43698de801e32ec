// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernel_state.h"
#include "region.h"
#include "stress.h"

/* Neighbours in the order of tasks run on different CPUs. */
void task_place(const struct stress *stress, uint64_t task)
{
	cpu_set_t set;

	if (!stress->pin)
		return;
	CPU_ZERO(&set);
	CPU_SET(task % stress->cpus, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail(EXIT_FAILED, errno, "a task can't run on CPU %lu",
		     (unsigned long)(task % stress->cpus));
}

void task_start(struct stress *stress, uint64_t task,
		void (*body)(struct stress *stress, uint64_t task))
{
	pid_t pid;

	if (stress->nr_children == CHILDREN_MAX)
		fail(EXIT_USAGE, E2BIG, "too many tasks");
	pid = fork();
	if (pid < 0)
		fail(EXIT_FAILED, errno, "a task can't be started");
	if (pid) {
		stress->children[stress->nr_children++] = pid;
		return;
	}
	/* Nobody may go on when the worker was killed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Its own view of the pages is not what is to be moved. */
	if (stress->pages.start)
		munmap(stress->pages.start, stress->pages.count * PAGE_BYTES);
	task_place(stress, task);
	body(stress, task);
	_exit(0);
}

void tasks_end(struct stress *stress)
{
	size_t i;
	int status;

	stress->tally->stop = true;
	for (i = 0; i < stress->nr_children; i++) {
		if (waitpid(stress->children[i], &status, 0) < 0)
			fail(EXIT_FAILED, errno, "a task can't be waited for");
		if (WIFSIGNALED(status))
			fail(EXIT_FAILED, 0, "task %zu was ended by signal %d", i,
			     WTERMSIG(status));
		if (WEXITSTATUS(status))
			fail(WEXITSTATUS(status), 0, "task %zu gave up", i);
	}
	stress->nr_children = 0;
}

void task_sleep_us(unsigned long us)
{
	struct timespec rest = { (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };

	while (nanosleep(&rest, &rest) && errno == EINTR)
		;
}

void task_rest_us(uint64_t since_ns, unsigned long least_us)
{
	unsigned long took_us = (unsigned long)(monotonic_ns() - since_ns) / 1000;

	task_sleep_us(took_us > least_us ? took_us : least_us);
}

int task_run(char *const argv[])
{
	int status;
	pid_t pid = vfork();

	if (pid < 0)
		return -1;
	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

int file_put(const char *path, const char *text)
{
	int error = 0, file = open(path, O_WRONLY | O_CLOEXEC);

	if (file < 0)
		return errno;
	if (write(file, text, strlen(text)) < 0)
		error = errno;
	close(file);
	return error;
}
