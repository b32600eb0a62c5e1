// SPDX-License-Identifier: Apache-2.0
// Stands where an engine expects its runtime, and times the runtime that it calls.
//
// In the directory of this program, "target" holds the path of the real runtime and "times" gets a
// line a call: "verb ns-from-spawn-to-exit wait-status last-argument". Arguments, environment,
// descriptors, directory and exit status are the caller's and the runtime's: both sides of a
// comparison are called through a copy of it, so that what it costs itself cancels out.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what) {
  fprintf(stderr, "stopwatch: %s: errno %d\n", what, errno);
  exit(125);
}

// The path of a file beside this program: engines may call it by any name.
static const char *beside(const char *name) {
  static char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 64);
  if (length < 0) fail("/proc/self/exe");
  path[length] = 0;
  strcpy(strrchr(path, '/') + 1, name);
  return path;
}

// The first argument that is neither a global flag nor the value of one.
static const char *verb(char **argv) {
  static const char *with_value[] = {"root", "log", "log-format", "criu", "rootless",
                                     "cgroup-manager", NULL};
  for (argv++; *argv; argv++) {
    if (**argv != '-') return *argv;
    const char *name = *argv + strspn(*argv, "-");
    for (const char **flag = with_value; *flag; flag++)
      if (strcmp(name, *flag) == 0 && argv[1]) argv++;
  }
  return "none";
}

int main(int argc, char **argv) {
  char target[4096], line[4096];
  FILE *file = fopen(beside("target"), "re");
  if (!file || !fgets(target, sizeof target, file)) fail("target");
  fclose(file);
  target[strcspn(target, "\n")] = 0;
  long long start = now();
  pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    // Whoever kills the runtime's caller means the runtime as well.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    argv[0] = target;
    execv(target, argv);
    fail(target);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) fail("waitpid");
  long long end = now();
  int length = snprintf(line, sizeof line, "%s %lld %d %s\n", verb(argv), end - start, status,
                        argv[argc - 1]);
  int times = open(beside("times"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (times < 0 || write(times, line, (size_t)length) != length) fail("times");
  if (WIFSIGNALED(status)) {
    signal(WTERMSIG(status), SIG_DFL);
    kill(getpid(), WTERMSIG(status));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
