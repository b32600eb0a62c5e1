// SPDX-License-Identifier: Apache-2.0
// Asks for CPU time when it is told to: a request that arrives in a container at rest.
//
//   burst DIRECTORY THREADS WORK_NS
//
// DIRECTORY/go is a FIFO; a byte read from it begins a burst: each thread uses WORK_NS of CPU. Then
// three 64-bit numbers go to the FIFO DIRECTORY/done: the first instruction after the byte and the
// end of the last thread, on CLOCK_MONOTONIC, and the CPU time of all threads; all in nanoseconds.
#include <pthread.h>

#include "start.h"

static pthread_barrier_t barrier;
static int64_t work;

static void *other(void *unused) {
  (void)unused;
  for (;;) {
    pthread_barrier_wait(&barrier);
    use_cpu_quietly(work);
    pthread_barrier_wait(&barrier);
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 4 || chdir(argv[1]) != 0) return 1;
  unsigned threads = (unsigned)atoi(argv[2]);
  work = atoll(argv[3]);
  if (threads < 1 || pthread_barrier_init(&barrier, NULL, threads) != 0) return 1;
  pthread_t thread;
  for (unsigned i = 1; i < threads; i++)
    if (pthread_create(&thread, NULL, other, NULL) != 0) return 1;
  int go = open("go", O_RDONLY), done = open("done", O_WRONLY);
  char byte;
  while (go >= 0 && done >= 0 && read(go, &byte, 1) == 1) {
    int64_t used = now(CLOCK_PROCESS_CPUTIME_ID), begun = now(CLOCK_MONOTONIC);
    pthread_barrier_wait(&barrier);
    use_cpu_quietly(work);
    pthread_barrier_wait(&barrier);
    int64_t ended = now(CLOCK_MONOTONIC);
    int64_t numbers[] = {begun, ended, now(CLOCK_PROCESS_CPUTIME_ID) - used};
    if (write(done, numbers, sizeof numbers) != sizeof numbers) break;
  }
  // The group stays, to be read, until it is deleted.
  for (;;) pause();
}
