// SPDX-License-Identifier: Apache-2.0
// A demand for memory that rises and falls again, as a sawtooth.
//
//   saw DIRECTORY LOW PEAK PERIOD CYCLES
//
// From LOW to PEAK mebibytes in seven tenths of PERIOD milliseconds, a tenth at the peak, at once
// down to LOW for the rest. Answers with 0 when it is through; nanoseconds.
#include <string.h>
#include <sys/mman.h>

#include "start.h"

static const size_t MEBIBYTE = 1 << 20;

int main(int argc, char **argv) {
  if (argc != 6 || chdir(argv[1]) != 0) return 1;
  int64_t low = atol(argv[2]), peak = atol(argv[3]);
  int64_t period = atol(argv[4]) * 1000000, cycles = atol(argv[5]);
  char *memory = mmap(NULL, peak * MEBIBYTE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || peak <= low) return 1;
  memset(memory, 1, low * MEBIBYTE);
  int64_t start = wait_for_start();
  for (int64_t cycle = 0; cycle < cycles; cycle++) {
    int64_t begin = start + cycle * period;
    for (int64_t step = 0; step < peak - low; step++) {
      sleep_until(begin + period * 7 / 10 * step / (peak - low));
      memset(memory + (low + step) * MEBIBYTE, 1, MEBIBYTE);
    }
    sleep_until(begin + period * 8 / 10);
    madvise(memory + low * MEBIBYTE, (peak - low) * MEBIBYTE, MADV_DONTNEED);
  }
  sleep_until(start + cycles * period);
  int64_t done = 0;
  answer(&done, 1);
}
