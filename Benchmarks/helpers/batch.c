// SPDX-License-Identifier: Apache-2.0
// A batch as streamcluster is one: threads work for a short phase, wait for each other, again.
//
//   batch DIRECTORY THREADS PHASES STEPS
//
// STEPS are what one thread does in a phase, the same each time. Answers with the time from the
// start to the last thread's end and the CPU time of all threads, in nanoseconds.
#include <pthread.h>

#include "start.h"

static pthread_barrier_t barrier;
static long phases, steps;
static volatile uint64_t sink;

static void *work(void *seed) {
  uint64_t x = (uint64_t)(uintptr_t)seed | 1;
  for (long phase = 0; phase < phases; phase++) {
    for (long step = 0; step < steps; step++) x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    pthread_barrier_wait(&barrier);
  }
  sink = x;
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 5 || chdir(argv[1]) != 0) return 1;
  unsigned threads = (unsigned)atoi(argv[2]);
  phases = atol(argv[3]), steps = atol(argv[4]);
  pthread_t others[64];
  if (threads < 1 || threads > 64 || pthread_barrier_init(&barrier, NULL, threads) != 0) return 1;
  int64_t start = wait_for_start();
  sleep_until(start);
  int64_t used = now(CLOCK_PROCESS_CPUTIME_ID);
  for (unsigned i = 1; i < threads; i++)
    if (pthread_create(&others[i], NULL, work, (void *)(uintptr_t)(i + 1)) != 0) return 1;
  work((void *)1);
  for (unsigned i = 1; i < threads; i++) pthread_join(others[i], NULL);
  int64_t numbers[] = {
      now(CLOCK_MONOTONIC) - start, now(CLOCK_PROCESS_CPUTIME_ID) - used};
  answer(numbers, 2);
}
