// SPDX-License-Identifier: Apache-2.0
// What a context switch costs on one CPU.
//
//   switches DIRECTORY CPU
//
// DIRECTORY/go is a FIFO; of each byte read from it, `p` has two processes hand a byte to each
// other by pipes, and `y` has two processes yield to each other, for a quarter of a second. Then
// two 64-bit numbers go to the FIFO DIRECTORY/done: the nanoseconds of CPU time of both, which is
// the CPU's time without other people's, and how many switches there were.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "start.h"

#define DURATION 250000000

static int64_t switches(int who) {
  struct rusage usage;
  getrusage(who, &usage);
  return usage.ru_nvcsw + usage.ru_nivcsw;
}

static int64_t used(void) {
  struct rusage usage;
  getrusage(RUSAGE_CHILDREN, &usage);
  return now(CLOCK_PROCESS_CPUTIME_ID) +
         (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
         (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

static void hand_over(int from, int to, int64_t end) {
  char byte = 0;
  while (read(from, &byte, 1) == 1 && byte == 0) {
    if (now(CLOCK_MONOTONIC) >= end) byte = 1;
    if (write(to, &byte, 1) != 1 || byte) break;
  }
}

static void yield(int64_t end) {
  while (now(CLOCK_MONOTONIC) < end) sched_yield();
}

int main(int argc, char **argv) {
  cpu_set_t one;
  CPU_ZERO(&one);
  if (argc != 3 || chdir(argv[1]) != 0) return 1;
  CPU_SET(atoi(argv[2]), &one);
  if (sched_setaffinity(0, sizeof one, &one) != 0) {
    perror("sched_setaffinity");
    return 1;
  }
  int go = open("go", O_RDONLY), done = open("done", O_WRONLY);
  char kind;
  while (go >= 0 && done >= 0 && read(go, &kind, 1) == 1) {
    int there[2], back[2];
    if (pipe(there) != 0 || pipe(back) != 0) return 1;
    int64_t before = switches(RUSAGE_SELF) + switches(RUSAGE_CHILDREN);
    int64_t used_before = used(), end = now(CLOCK_MONOTONIC) + DURATION;
    pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (kind == 'y')
        yield(end);
      else
        hand_over(there[0], back[1], end);
      _exit(0);
    }
    if (kind == 'y') {
      yield(end);
    } else {
      char first = 0;
      if (write(there[1], &first, 1) != 1) return 1;
      hand_over(back[0], there[1], end + DURATION);
    }
    waitpid(child, NULL, 0);
    int64_t numbers[] = {
        used() - used_before,
        switches(RUSAGE_SELF) + switches(RUSAGE_CHILDREN) - before};
    if (write(done, numbers, sizeof numbers) != sizeof numbers) break;
    for (int i = 0; i < 2; i++) close(there[i]), close(back[i]);
  }
  for (;;) pause();
}
