// SPDX-License-Identifier: Apache-2.0
// What a C program sees of its limits: a line of JSON at once, and one for each line of its input.
// It reads the group that /proc/self/cgroup names on cgroup v2, and the mounted one on v1.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Our group's path from the root of the unified hierarchy, as it is mounted.
static const char *group(void) {
  static char line[4096];
  FILE *file = fopen("/proc/self/cgroup", "re");
  const char *found = "";
  while (file && fgets(line, sizeof line, file)) {
    if (strncmp(line, "0::/", 4) == 0) {
      line[strcspn(line, "\n")] = '\0';
      found = line + 3;
      break;
    }
  }
  if (file) fclose(file);
  return found;
}

// The words of a file, or of its counterpart on v1; none where there is neither.
static void words(const char *name, const char *v1, char *first, char *second) {
  char path[8192];
  first[0] = second[0] = '\0';
  snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group(), name);
  FILE *file = fopen(path, "re");
  if (!file) {
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s", v1);
    file = fopen(path, "re");
  }
  if (!file) return;
  if (fscanf(file, "%31s %31s", first, second) < 1) first[0] = '\0';
  fclose(file);
}

static void report(void) {
  char quota[32], period[32], memory[32], unused[32];
  words("cpu.max", "cpu/cpu.cfs_quota_us", quota, period);
  if (!period[0]) words("cpu.max", "cpu/cpu.cfs_period_us", period, unused);
  words("memory.max", "memory/memory.limit_in_bytes", memory, unused);
  long of = 0, in = 0;
  sscanf(quota, "%ld", &of);
  sscanf(period, "%ld", &in);
  printf("{\"quota\": \"%s\", \"period\": \"%s\", \"cpus\": %ld, \"memory\": \"%s\", "
         "\"online\": %ld}\n",
         quota, period, of > 0 && in > 0 ? (of + in - 1) / in : 0, memory,
         sysconf(_SC_NPROCESSORS_ONLN));
  fflush(stdout);
}

int main(void) {
  char line[64];
  do report();
  while (fgets(line, sizeof line, stdin));
  return 0;
}
