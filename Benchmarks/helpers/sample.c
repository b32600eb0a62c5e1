// SPDX-License-Identifier: Apache-2.0
// Reads a cgroup's limit and use at a fixed pace.
//
//   sample INTERVAL_US QUOTA_FILE USAGE_FILE
//
// Prints "ns-of-CLOCK_MONOTONIC quota use": the quota file's first number (-1 for "max") and the
// CPU time used in nanoseconds, from cpuacct.usage or a cpu.stat with usage_usec.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static long long first(int file) {
  char text[256] = "";
  if (pread(file, text, sizeof text - 1, 0) <= 0) exit(0);  // The group is gone.
  if (strncmp(text, "max", 3) == 0) return -1;
  char *microseconds = strstr(text, "usage_usec ");
  return microseconds ? atoll(microseconds + 11) * 1000 : atoll(text);
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc != 4) return 1;
  long interval = atol(argv[1]) * 1000;
  int quota = open(argv[2], O_RDONLY), usage = open(argv[3], O_RDONLY);
  if (quota < 0 || usage < 0) return 1;
  setvbuf(stdout, NULL, _IOLBF, 0);
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (;;) {
    struct timespec t;
    long long limit = first(quota), used = first(usage);
    clock_gettime(CLOCK_MONOTONIC, &t);
    printf("%lld %lld %lld\n", t.tv_sec * 1000000000LL + t.tv_nsec, limit, used);
    next.tv_nsec += interval;
    while (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
  }
}
