// SPDX-License-Identifier: Apache-2.0
// Plays a load inside a container: so much CPU time at such moments, the same each time.
//
//   player DIRECTORY [quietly]
//
// Quietly: it looks at its CPU clock as seldom as ordinary programs do.
//
// DIRECTORY/schedule has triples of 64-bit numbers: when a request arrives (ns from the start), its
// CPU time (ns), and for how long it is busy at least (ns of wall time). DIRECTORY/go is a FIFO;
// the 8 bytes read from it are the start on CLOCK_MONOTONIC. For each request a pair of 64-bit
// numbers goes to DIRECTORY/times, which the host reads: when its work began and when the CPU time
// was used. Requests that arrive while another is served wait, as in a server with one thread.
#include <sys/mman.h>
#include <sys/stat.h>

#include "start.h"

struct request {
  int64_t arrival, work, least;
};

struct answer {
  volatile int64_t begun, done;
};

static void *map(const char *name, int flags, size_t *size) {
  int file = open(name, flags);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0) {
    perror(name);
    exit(1);
  }
  int access = flags == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;
  void *memory = mmap(NULL, (size_t)status.st_size, access, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) {
    perror(name);
    exit(1);
  }
  close(file);
  *size = (size_t)status.st_size;
  return memory;
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3 || chdir(argv[1]) != 0) return 1;
  size_t size, times;
  const struct request *requests = map("schedule", O_RDONLY, &size);
  struct answer *answers = map("times", O_RDWR, &times);
  size_t count = size / sizeof *requests;
  if (times < count * sizeof *answers) return 1;
  int64_t start = wait_for_start();
  for (size_t i = 0; i < count; i++) {
    sleep_until(start + requests[i].arrival);
    int64_t begun = now(CLOCK_MONOTONIC);
    answers[i].begun = begun;
    if (argc == 3)
      use_cpu_quietly(requests[i].work);
    else
      use_cpu(requests[i].work);
    answers[i].done = now(CLOCK_MONOTONIC);
    while (now(CLOCK_MONOTONIC) - begun < requests[i].least) {
    }
  }
  // The group stays, to be read, until it is deleted.
  for (;;) pause();
}
