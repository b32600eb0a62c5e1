// SPDX-License-Identifier: Apache-2.0
// Reads the limits and the use of several cgroups at a fixed pace.
//
//   appsample INTERVAL_US CPU_DIR,USAGE_DIR,MEMORY_DIR...
//
// Writes 64-bit numbers: the time (CLOCK_MONOTONIC, ns), and for each group quota (us, -1 for
// none), CPU time used (ns), memory limit and memory in use (bytes). cgroup v1.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "start.h"

static const char *const names[] = {
    "cpu.cfs_quota_us", "cpuacct.usage", "memory.limit_in_bytes", "memory.usage_in_bytes"};
static const int places[] = {0, 1, 2, 2};

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc < 3 || argc > 18) return 1;
  int files[64], count = 0;
  for (int i = 2; i < argc; i++) {
    const char *directories[3];
    directories[0] = strtok(argv[i], ",");
    for (int k = 1; k < 3; k++) directories[k] = strtok(NULL, ",");
    for (int k = 0; k < 4; k++) {
      char path[4096];
      if (!directories[places[k]]) return 1;
      snprintf(path, sizeof path, "%s/%s", directories[places[k]], names[k]);
      if ((files[count++] = open(path, O_RDONLY)) < 0) {
        perror(path);
        return 1;
      }
    }
  }
  int64_t next = now(CLOCK_MONOTONIC), interval = atoll(argv[1]) * 1000;
  for (;;) {
    int64_t numbers[65] = {now(CLOCK_MONOTONIC)};
    for (int i = 0; i < count; i++) {
      char text[64] = "";
      if (pread(files[i], text, sizeof text - 1, 0) <= 0) return 0;  // The group is gone.
      numbers[1 + i] = atoll(text);
    }
    size_t size = sizeof *numbers * (size_t)(1 + count);
    if (write(1, numbers, size) != (ssize_t)size) return 1;
    sleep_until(next += interval);
  }
}
