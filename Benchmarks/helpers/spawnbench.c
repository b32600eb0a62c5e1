// SPDX-License-Identifier: Apache-2.0
// Times two command lines in alternation: from posix_spawn(3) to the return of wait4(2).
//
//   spawnbench PAIRS WARMUP GAP_US -- A... -- B... [-- AFTER...]
//
// Prints a line a pair, "ns-of-A status-of-A ns-of-B status-of-B"; warm-up pairs are not printed.
// "{}" in an argument becomes a number that no other run has. AFTER is run after each of them with
// the same number, untimed, to clear up; it has to succeed. GAP_US is slept before each run, so
// that what one leaves behind (a cgroup being freed, a supervisor on its way out) is not charged
// to the other.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static posix_spawn_file_actions_t actions;
static unsigned runs;
static char **cleanup;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what, int error) {
  fprintf(stderr, "spawnbench: %s: %s\n", what, strerror(error));
  exit(2);
}

// The arguments with the number of the run in place of "{}"; buffers live until the next call.
static char **numbered(char **argv) {
  static char *filled[256];
  static char text[256][4096];
  int i = 0;
  for (; argv[i]; i++) {
    if (i == 255) fail(argv[i], E2BIG);
    char *place = strstr(argv[i], "{}");
    filled[i] = argv[i];
    if (place) {
      snprintf(text[i], sizeof text[i], "%.*s%u%s", (int)(place - argv[i]), argv[i], runs,
               place + 2);
      filled[i] = text[i];
    }
  }
  filled[i] = NULL;
  return filled;
}

static int64_t timed(char **argv, int *status) {
  char **filled = numbered(argv);
  pid_t pid;
  struct rusage usage;
  int64_t start = now();
  int error = posix_spawn(&pid, filled[0], &actions, NULL, filled, environ);
  if (error) fail(filled[0], error);
  while (wait4(pid, status, 0, &usage) < 0)
    if (errno != EINTR) fail("wait4", errno);
  return now() - start;
}

static int64_t run(char **argv, useconds_t gap, int *status) {
  runs++;
  if (gap) usleep(gap);
  int64_t time = timed(argv, status);
  int cleared = 0;
  if (cleanup) timed(cleanup, &cleared);
  if (cleared) fail(cleanup[0], EIO);
  return time;
}

// What follows the next "--", which ends what is before; NULL where there is none.
static char **after(char **argv) {
  while (*argv && strcmp(*argv, "--")) argv++;
  if (!*argv) return NULL;
  *argv = NULL;
  return argv + 1;
}

int main(int argc, char **argv) {
  if (argc < 8) fail("usage: spawnbench PAIRS WARMUP GAP_US -- A... -- B... [-- AFTER...]", EINVAL);
  int pairs = atoi(argv[1]), warmup = atoi(argv[2]);
  useconds_t gap = (useconds_t)atoi(argv[3]);
  char **a = after(argv + 1), **b = a ? after(a) : NULL;
  if (!b) fail("expected --", EINVAL);
  cleanup = after(b);
  setvbuf(stdout, NULL, _IOLBF, 0);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  for (int i = -warmup; i < pairs; i++) {
    int status_a, status_b;
    int64_t time_a = run(a, gap, &status_a), time_b = run(b, gap, &status_b);
    if (i >= 0)
      printf("%lld %d %lld %d\n", (long long)time_a, status_a, (long long)time_b, status_b);
  }
  return 0;
}
