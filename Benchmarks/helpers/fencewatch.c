// SPDX-License-Identifier: Apache-2.0
// Says when new cpuset groups have their first process and when they lose a CPU: blocks in inotify,
// so it costs nothing in between.
//
//   fencewatch DIRECTORY PREFIX CPU
//
// Prints "NAME ns ns", the two moments on CLOCK_MONOTONIC, for each group in DIRECTORY whose name
// begins with PREFIX, once it has a process and CPU is not in its cpuset.cpus. It runs before
// ordinary processes (SCHED_FIFO) so that the load does not delay it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

struct group {
  int watch;
  char name[256];
  int64_t populated, fenced;
};

static struct group groups[1024];
static int count;
static const char *root;
static long cpu;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// What a file of a group begins with; empty when the group is gone.
static const char *text(const struct group *group, const char *name) {
  static char found[4096];
  char path[4096];
  snprintf(path, sizeof path, "%s/%s/%s", root, group->name, name);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t size = file < 0 ? 0 : read(file, found, sizeof found - 1);
  if (file >= 0) close(file);
  found[size > 0 ? size : 0] = 0;
  return found;
}

static int has_cpu(const char *list) {
  while (*list >= '0' && *list <= '9') {
    char *end;
    long first = strtol(list, &end, 10), last = *end == '-' ? strtol(end + 1, &end, 10) : first;
    if (first <= cpu && cpu <= last) return 1;
    list = *end == ',' ? end + 1 : end;
  }
  return 0;
}

static void look(struct group *group) {
  if (group->fenced) return;
  int64_t time = now();
  if (!group->populated) {
    if (!*text(group, "cgroup.procs")) return;
    group->populated = time;
  }
  const char *cpus = text(group, "cpuset.cpus");
  if (*cpus < '0' || has_cpu(cpus)) return;
  group->fenced = time;
  printf("%s %lld %lld\n", group->name, (long long)group->populated, (long long)time);
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc != 4) return 1;
  root = argv[1], cpu = atol(argv[3]);
  struct sched_param priority = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
    fprintf(stderr, "fencewatch: no real-time priority; times are those of an ordinary process\n");
  int inotify = inotify_init1(IN_CLOEXEC);
  int newcomers = inotify_add_watch(inotify, root, IN_CREATE | IN_ONLYDIR);
  if (newcomers < 0) {
    perror(root);
    return 1;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("ready\n");
  char buffer[65536] __attribute__((aligned(8)));
  for (;;) {
    ssize_t size = read(inotify, buffer, sizeof buffer);
    if (size <= 0) return 1;
    for (ssize_t at = 0; at < size;) {
      struct inotify_event *event = (struct inotify_event *)(buffer + at);
      at += (ssize_t)(sizeof *event + event->len);
      if (event->wd != newcomers) {
        for (int i = 0; i < count; i++)
          if (groups[i].watch == event->wd) look(&groups[i]);
        continue;
      }
      if (strncmp(event->name, argv[2], strlen(argv[2])) != 0 || count == 1024) continue;
      struct group *group = &groups[count++];
      snprintf(group->name, sizeof group->name, "%s", event->name);
      char path[4096];
      snprintf(path, sizeof path, "%s/%s", root, group->name);
      group->watch = inotify_add_watch(inotify, path, IN_MODIFY);
      // What was written before the watch was there is seen now, everything else is heard of.
      look(group);
    }
  }
}
