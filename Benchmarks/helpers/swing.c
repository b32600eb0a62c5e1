// SPDX-License-Identifier: Apache-2.0
// Loads that have a supervisor look as often as anything can.
//
//   swing toggle US    works for so many microseconds, sleeps for as many, and so on
//   swing fork         starts a process that ends at once, and so on
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "fork") == 0) {
    signal(SIGCHLD, SIG_IGN);
    for (;;)
      if (fork() == 0) _exit(0);
  }
  if (argc != 3) return 2;
  long long length = atoll(argv[2]) * 1000;
  struct timespec rest = {length / 1000000000, length % 1000000000};
  for (;;) {
    for (long long end = now() + length; now() < end;) continue;
    nanosleep(&rest, NULL);
  }
}
