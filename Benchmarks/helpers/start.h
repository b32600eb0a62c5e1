// SPDX-License-Identifier: Apache-2.0
// What programs share that wait in a container for their start: the working directory is a mount
// that the host sees, and has a FIFO `go`.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static inline int64_t now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline void sleep_until(int64_t moment) {
  struct timespec t = {moment / 1000000000, moment % 1000000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0) {
  }
}

static inline void use_cpu(int64_t nanoseconds) {
  int64_t used = now(CLOCK_THREAD_CPUTIME_ID);
  while (now(CLOCK_THREAD_CPUTIME_ID) - used < nanoseconds) {
  }
}

// The same without a look at the CPU clock: each has the kernel account for what was used, so a
// quota that is used up ends the program there, and not at the next tick as it ends ordinary ones.
// The wall's clock needs no system call. Time between two looks at it that is longer than 50 us was
// another's, or was throttled.
static inline void use_cpu_quietly(int64_t nanoseconds) {
  int64_t used = 0, before = now(CLOCK_MONOTONIC);
  while (used < nanoseconds) {
    int64_t moment = now(CLOCK_MONOTONIC);
    if (moment - before < 50000) used += moment - before;
    before = moment;
  }
}

// Blocks until the host says when the start is, on CLOCK_MONOTONIC in nanoseconds.
static inline int64_t wait_for_start(void) {
  int64_t start;
  int go = open("go", O_RDONLY);
  if (go < 0 || read(go, &start, sizeof start) != sizeof start) {
    perror("go");
    exit(1);
  }
  close(go);
  return start;
}

// Leaves numbers for the host: the file `answer` is there when all of them are. The group stays, to
// be read, until it is deleted.
static inline void answer(const int64_t *numbers, size_t count) {
  FILE *file = fopen("answer.part", "w");
  if (!file || fwrite(numbers, sizeof *numbers, count, file) != count || fclose(file) != 0 ||
      rename("answer.part", "answer") != 0) {
    perror("answer");
    exit(1);
  }
  for (;;) pause();
}
