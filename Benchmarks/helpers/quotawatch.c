// SPDX-License-Identifier: Apache-2.0
// Says when cgroup limits are written: blocks in inotify, so it costs nothing in between.
//
//   quotawatch [--ordinary] [--inotify DESCRIPTOR] FILE...
//
// A user may have 128 instances of inotify; who may find them taken has one kept for it.
//
// Prints "ns-of-CLOCK_MONOTONIC index quota" a write; the quota is the file's first number, -1 for
// "max". It runs before ordinary processes (SCHED_FIFO) so that the load does not delay it, unless
// it is told to be ordinary: then it does not delay the load.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sched_param priority = {.sched_priority = 1};
  if (argc > 1 && strcmp(argv[1], "--ordinary") == 0)
    argv++, argc--;
  else if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
    fprintf(stderr, "quotawatch: no real-time priority; times are those of an ordinary process\n");
  int watch;
  if (argc > 2 && strcmp(argv[1], "--inotify") == 0) {
    watch = atoi(argv[2]);
    argv += 2, argc -= 2;
  } else {
    watch = inotify_init1(IN_CLOEXEC);
  }
  int files[256], watches[256];
  if (argc < 2 || argc > 256 || watch < 0) return 1;
  for (int i = 1; i < argc; i++) {
    files[i] = open(argv[i], O_RDONLY);
    watches[i] = inotify_add_watch(watch, argv[i], IN_MODIFY);
    if (files[i] < 0 || watches[i] < 0) {
      perror(argv[i]);
      return 1;
    }
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("ready\n");
  char buffer[4096] __attribute__((aligned(8)));
  for (;;) {
    ssize_t size = read(watch, buffer, sizeof buffer);
    int64_t time = now();
    if (size <= 0) return 1;
    for (ssize_t at = 0; at < size;) {
      struct inotify_event *event = (struct inotify_event *)(buffer + at);
      at += (ssize_t)(sizeof *event + event->len);
      for (int i = 1; i < argc; i++) {
        if (watches[i] != event->wd) continue;
        char text[64] = "";
        if (pread(files[i], text, sizeof text - 1, 0) <= 0) continue;
        long long quota = strncmp(text, "max", 3) ? atoll(text) : -1;
        printf("%lld %d %lld\n", (long long)time, i - 1, quota);
      }
    }
  }
}
