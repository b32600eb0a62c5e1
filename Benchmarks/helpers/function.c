// SPDX-License-Identifier: Apache-2.0
// A function as clouds run them: takes memory, works, waits for somebody, ends.
//
//   function MIB WORK_MS TOTAL_MS
//
// Touches MIB of memory and uses WORK_MS of CPU time in the process, then sleeps until TOTAL_MS
// after its start.
#include <string.h>

#include "start.h"

int main(int argc, char **argv) {
  if (argc != 4) return 1;
  int64_t start = now(CLOCK_MONOTONIC);
  size_t size = (size_t)atoll(argv[1]) << 20;
  int64_t work = atoll(argv[2]) * 1000000;
  volatile char *memory = malloc(size);
  if (!memory) return 1;
  for (size_t i = 0; i < size; i += 4096) memory[i] = 1;
  int64_t used = now(CLOCK_PROCESS_CPUTIME_ID);
  if (used < work) use_cpu_quietly(work - used);
  sleep_until(start + atoll(argv[3]) * 1000000);
  return memory[0] == 1 ? 0 : 1;
}
