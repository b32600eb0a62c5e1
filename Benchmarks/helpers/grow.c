// SPDX-License-Identifier: Apache-2.0
// A demand for memory that grows at full speed.
//
//   grow DIRECTORY MODE MEBIBYTES
//
// MODE touch: one page after the other of a mapping that is made bit by bit; reserve: of one
// that is reserved as a whole, as a JVM does; tmpfs: 64 KiB writes to a file in /memory. Answers
// with the time it took, the longest and the 99.9th percentile of single steps (64 KiB each), and
// how many writes failed or were short; nanoseconds.
#include <string.h>
#include <sys/mman.h>

#include "start.h"

enum { STEP = 64 << 10 };

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static char *map(size_t size) {
  void *found =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (found == MAP_FAILED) exit(1);
  return found;
}

int main(int argc, char **argv) {
  if (argc != 4 || chdir(argv[1]) != 0) return 1;
  size_t steps = (size_t)atol(argv[3]) * ((1 << 20) / STEP);
  int64_t *taken = malloc(steps * sizeof *taken);
  char *bytes = malloc(STEP);
  if (!taken || !bytes) return 1;
  memset(taken, 1, steps * sizeof *taken);
  memset(bytes, 1, STEP);
  int is_tmpfs = strcmp(argv[2], "tmpfs") == 0, is_whole = strcmp(argv[2], "reserve") == 0;
  int file = is_tmpfs ? open("/memory/file", O_CREAT | O_WRONLY, 0600) : -1;
  if (is_tmpfs && file < 0) return 1;
  char *whole = is_whole ? map(steps * STEP) : NULL;
  int64_t failed = 0;
  int64_t start = wait_for_start();
  sleep_until(start);
  int64_t before = start = now(CLOCK_MONOTONIC);
  for (size_t step = 0; step < steps; step++) {
    if (is_tmpfs) {
      failed += write(file, bytes, STEP) != STEP;
    } else {
      char *part = is_whole ? whole + step * STEP : map(STEP);
      for (size_t offset = 0; offset < STEP; offset += 4096) part[offset] = 1;
    }
    int64_t after = now(CLOCK_MONOTONIC);
    taken[step] = after - before;
    before = after;
  }
  int64_t total = before - start;
  qsort(taken, steps, sizeof *taken, compare);
  int64_t numbers[] = {total, taken[steps - 1], taken[steps - 1 - steps / 1000], failed};
  answer(numbers, 4);
}
